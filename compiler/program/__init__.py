"""Models that are more than one compiled module: splitting, specialising and running them."""
