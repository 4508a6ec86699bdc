"""The only SQL in the project. Functions take and return domain types; rows never leave."""
