"""Passes on the npu dialect; see `passes/registry.py` for the list."""
