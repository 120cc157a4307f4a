"""The paper venue: real order semantics on prices from anywhere, books that outlive every process."""
