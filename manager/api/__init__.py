"""The web process: what it answers over HTTP, on loopback only."""
