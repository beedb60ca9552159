"""Webhooks: hints and payments that others tell us, and messages that we tell others."""
