"""What a round decides: pure functions over frozen values."""
