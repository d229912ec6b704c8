"""Others that keep durable work in PostgreSQL, each in an environment of its own."""
