"""Context in, decision out: language models, recorded replies and baselines behind one protocol."""
