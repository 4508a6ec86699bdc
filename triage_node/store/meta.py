"""Facts about the store itself: is it a simulation, and how often has the list changed."""

from __future__ import annotations

from sqlalchemy import Connection, Integer, String, cast, insert, select, update

from triage_node.domain.errors import AnotherTenant, StoreError
from triage_node.store.engine import Store
from triage_node.store.schema import meta

SIMULATION = "simulation"
LIST_VERSION = "list_version"


def set_simulation(store: Store, simulation: bool) -> None:
    """Fix whether this store holds simulated patients. Only once (DESIGN.md section 4)."""
    with store.write() as c:
        held = c.execute(select(meta.c.value).where(meta.c.key == SIMULATION)).scalar()
        if held is None:
            c.execute(
                insert(meta), [{"key": SIMULATION, "value": str(int(simulation))}, {"key": LIST_VERSION, "value": "0"}]
            )
        elif bool(int(held)) != simulation:
            raise StoreError("simulation is fixed when a store is created; use another data folder")


def is_simulation(store: Store) -> bool:
    """Raises: StoreError when the store was never initialised, or is another hospital's."""
    try:
        with store.read() as c:
            held = c.execute(select(meta.c.value).where(meta.c.key == SIMULATION)).scalar()
    except AnotherTenant:
        raise
    except StoreError as error:
        raise StoreError("the store is not initialised or cannot be reached; run `triage-node init`") from error
    if held is None:
        raise StoreError("the store is not initialised; run `triage-node init`")
    return bool(int(held))


def list_version(source: Store | Connection) -> int:
    """A counter that grows with every visible change of the list."""
    if isinstance(source, Store):
        with source.read() as c:
            return list_version(c)
    return int(source.execute(select(meta.c.value).where(meta.c.key == LIST_VERSION)).scalar() or 0)


def touch_list(c: Connection) -> None:
    """Count one visible change, in the transaction that makes it."""

    c.execute(
        update(meta).where(meta.c.key == LIST_VERSION).values(value=cast(cast(meta.c.value, Integer) + 1, String))
    )
