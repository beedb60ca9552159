"""Figures of this machine, each beside its floor and its peers; nothing here passes or fails."""
