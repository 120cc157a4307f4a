"""The composition of everything: the desk, its state, its commands."""
