"""The jobs of the desk and the two runners that run them: Procrastinate on Postgres, and inline."""
