"""The order of the reading list: pure functions, no clock and no database (DESIGN.md section 2)."""
