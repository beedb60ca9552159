"""PostgreSQL, Redis and an EVM node that a laptop runs as children of one command."""
