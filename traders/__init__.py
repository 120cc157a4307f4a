"""One virtual trader: its mandate, its book, its performance and what it may see."""
