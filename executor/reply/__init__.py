"""Replies of models: read strictly, else loosely, and asked for again; `parser` is the way in."""
