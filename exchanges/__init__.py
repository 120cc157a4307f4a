"""The outside world: venues, market data and the clock."""
