"""Toolkits towards the outside, without any domain."""
