"""Associations that the node opens itself: with bounds on every wait, and an error that says whether to try again."""
