"""A site moves: to another database, into a backup and back, to the next schema."""
