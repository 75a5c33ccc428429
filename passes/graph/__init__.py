"""Passes on the graph dialect; see `passes/registry.py` for the list."""
