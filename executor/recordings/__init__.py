"""What models and remote executors said, kept and given again: `sources` ask or answer, `calls` are kept in `files`."""
