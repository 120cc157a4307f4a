"""What an operator must see: codes, log and safe mode."""
