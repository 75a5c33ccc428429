"""Benchmarks of the NPU end on full-size networks."""
