"""Who may do what: keys with their roles, and how often who is refused may try again."""
