"""Local rewrite rules of the graph level, by family, and the driver that applies them."""
