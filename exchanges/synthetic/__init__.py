"""A market that is a pure function of (seed, symbol, time)."""
