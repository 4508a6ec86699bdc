"""The clock of the database, by which hosts with clocks of their own tell leases."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import text

from triage_node.store.engine import Store


def of_database(store: Store) -> datetime:
    """Now, to PostgreSQL. Raises: StoreError."""
    with store.read() as c:
        return c.execute(text("SELECT clock_timestamp() AT TIME ZONE 'UTC'")).scalar_one().replace(tzinfo=UTC)  # type: ignore[no-any-return]
