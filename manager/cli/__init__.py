"""The command line: `propdesk ...`."""
