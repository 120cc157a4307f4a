"""The rules of the risk manager, by what they look at; `registry` lists them all."""
