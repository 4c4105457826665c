"""Where conversations are kept: SQLite on the own machine, or PostgreSQL by its URL."""
