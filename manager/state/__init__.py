"""Keep what must survive a crash: tables, stores and the database server under them."""
