"""Read models: what command line, API, console and reports show."""
