"""The invariants of DESIGN.md 3 as checks on one account's facts; a violation is a value with its numbers."""
