"""Who trades: definitions, their checks, life cycles and schedules."""
