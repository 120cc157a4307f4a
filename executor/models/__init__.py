"""Language models behind one small protocol, one module a kind of endpoint."""
