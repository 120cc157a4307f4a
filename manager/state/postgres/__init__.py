"""The state on PostgreSQL."""
