"""What the rooms of the console are made of: each part of the page on the store."""
