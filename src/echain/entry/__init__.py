"""Explicit wiring of the roles: api, indexer, worker, and the command line."""
