"""The invariants of an account as checks on its facts (docs/rules.md); a violation is a value with its numbers."""
