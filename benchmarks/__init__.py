"""Benchmarks: commands that measure and store JSON, side by side with a peer where there is one."""
