"""The routes of the API, one file a resource; each only reads a view or calls the manager."""
