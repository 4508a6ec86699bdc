"""The shared store of blobs as the roles see it: what goes up, and what is wrong with it."""
