"""What watches the desk: invariants, metrics, alerts."""
