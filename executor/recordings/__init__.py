"""What models and remote executors said, kept and given again."""
