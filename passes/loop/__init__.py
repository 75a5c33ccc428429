"""Passes on the loop dialect; see `passes/registry.py` for the list."""
