"""The only places where the parts of a desk are put together."""
