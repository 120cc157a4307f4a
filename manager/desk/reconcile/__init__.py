"""The venue's truth against the books."""
