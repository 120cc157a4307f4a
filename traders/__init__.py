"""One virtual trader: its spec, life cycle, book and performance."""
