"""Prompt templates: found, sandboxed, filled and measured; `library` is the way in."""
