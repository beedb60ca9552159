"""What the platform stands on: configuration, database, outbox, Redis, logging, embedded parts."""
