"""Act on one account: reconcile it, plan a round, carry it out, protect the books and keep house."""
