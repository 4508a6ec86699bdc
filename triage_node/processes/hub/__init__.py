"""A small node in a hospital and one in the region: what goes from the one to the other."""
