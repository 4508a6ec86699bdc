"""The audit trail outside the store: heads that are told, entries for people and for an audit record repository."""
