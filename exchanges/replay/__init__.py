"""Recorded candles as a market: load, check, index."""
