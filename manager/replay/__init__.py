"""Replay recorded candles through the same desk that trades live."""
