"""Decisions of another process: `executor` asks for them, `server` answers, `wire` is the form in which they travel."""
