"""A whole store, row by row: to another database, into a backup and back. Knows tables by reflection, at any revision."""
