"""The wire form of gRPC: `decision.proto`, and the modules that `make setup` and the wheel build generate from it."""
