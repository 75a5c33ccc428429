"""ZigZag's mappings beside ours: its latency model, our search, and both on our simulator."""
