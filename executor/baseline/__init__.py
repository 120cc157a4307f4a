"""The executor that decides by rules in code, without a model."""
