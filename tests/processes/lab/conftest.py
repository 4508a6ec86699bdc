from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.lab import lab_store
from triage_node.config.schema import Settings
from triage_node.processes.running import now
from triage_node.store.engine import Store

Made = tuple[Store, Settings]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[..., Made]]:
    """A store with judged studies, closed at the end."""
    stores: list[Store] = []

    def make(n: int = 10, **more: object) -> Made:
        store, settings = lab_store(tmp_path / str(len(stores)), now(), n, **more)  # type: ignore[arg-type]
        stores.append(store)
        return store, settings

    yield make
    for store in stores:
        store.close()
