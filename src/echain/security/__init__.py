"""Watches over the platform: what should not happen becomes an alarm that administrators are told of."""
