"""Typed HTTP endpoints: decode, check, answer the envelope, publish OpenAPI from the same types."""
