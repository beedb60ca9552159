"""Telling people: in the app, by e-mail, by Web Push, as they prefer."""
