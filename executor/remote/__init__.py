"""Decisions over a wire: what is sent, who may ask, and the connections of those who do."""
