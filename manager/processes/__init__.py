"""The processes of a desk: supervisor, worker, executor server, and their logs."""
