"""From the outbox to the peers: what may go, how it goes, what became of it."""
