"""What one process does while all others stand by: the ticks of the scheduler, the way to one destination.

DESIGN. With PostgreSQL a turn is an advisory lock of a session of its own: it is free the moment its process dies, and
when its host was cut off or stopped the server ends the session after SESSION_S without a word (source: PostgreSQL 15
documentation 13.3.5 and 20.11). The owner trusts a turn for TRUSTED_S after the server last answered, which is less, so
who is cut off stops before another begins. On SQLite, where all processes are on one machine, it is a row that lapses
after SESSION_S, or at once when its owner is dead.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select, text, update
from sqlalchemy.dialects.sqlite import insert

from triage_node.domain.errors import StoreError
from triage_node.store.engine import Store
from triage_node.store.schema import turn

SESSION_S, TRUSTED_S, KEPT_EVERY_S = 15, 10.0, 2.0
_OURS = 0x74726961
"""The first half of the lock's number; the second is made of its name."""


class Turns:
    """The turns of one process. Any thread may ask; `keep` is called at least every KEPT_EVERY_S by one of them."""

    def __init__(self, store: Store, owner: str, is_dead: Callable[[str], bool], now: Callable[[], datetime]) -> None:
        self._store, self._owner, self._is_dead, self._now = store, owner, is_dead, now
        self._lock = threading.Lock()
        self._session: Connection | None = None
        self._held: set[str] = set()
        self._answered_at = 0.0

    def mine(self, name: str) -> bool:
        """Take a turn, or keep it. False when somebody else has it. Raises: StoreError, and then all turns are lost."""
        with self._lock:
            self._keep()
            if name not in self._held and self._take(name):
                self._held.add(name)
            return name in self._held

    def still(self, name: str) -> bool:
        """Whether a turn is ours, as far as we know; asks nobody."""
        return name in self._held and time.monotonic() - self._answered_at < TRUSTED_S

    def keep(self) -> None:
        """Let the others know that we are there. Raises: StoreError, and then all turns are lost."""
        with self._lock:
            self._keep()

    def give_up(self) -> None:
        """Let the next one begin. Nothing is raised: turns that cannot be given up end by themselves."""
        with self._lock:
            try:
                if self._store.is_sqlite and self._held:
                    with self._store.write() as c:
                        c.execute(delete(turn).where(turn.c.owner == self._owner))
            except StoreError:
                pass  # it lapses
            self._lose()

    def _keep(self) -> None:
        if not self._held or time.monotonic() - self._answered_at < KEPT_EVERY_S:
            return
        asked_at = time.monotonic()
        try:
            if self._store.is_sqlite:
                with self._store.write() as c:
                    mine = update(turn).where(turn.c.owner == self._owner, turn.c.name.in_(self._held))
                    c.execute(mine.values(until=self._until()))
                    self._held = set(c.execute(select(turn.c.name).where(turn.c.owner == self._owner)).scalars())
            else:
                self._ask("SELECT 1")
        except StoreError:
            self._lose()
            raise
        self._answered_at = asked_at

    def _take(self, name: str) -> bool:
        asked_at = time.monotonic()
        try:
            taken = self._take_row(name) if self._store.is_sqlite else self._take_lock(name)
        except StoreError:
            self._lose()
            raise
        self._answered_at = asked_at
        return taken

    def _take_row(self, name: str) -> bool:
        with self._store.read() as c:  # who stands by asks often, and must not keep others from writing
            held = c.execute(select(turn).where(turn.c.name == name)).one_or_none()
        if held is not None and held.until >= self._now() and not self._is_dead(held.owner):
            return False
        with self._store.write() as c:
            if held is not None:
                c.execute(delete(turn).where(turn.c.name == name, turn.c.owner == held.owner))
            values = {"name": name, "owner": self._owner, "until": self._until()}
            return bool(c.execute(insert(turn).on_conflict_do_nothing().values(values)).rowcount)

    def _take_lock(self, name: str) -> bool:
        number = zlib.crc32(f"{self._store.tenant} {name}".encode()) - (1 << 31)  # hospitals may share a database
        return bool(self._ask(f"SELECT pg_try_advisory_lock({_OURS}, {number})"))

    def _ask(self, query: str) -> object:
        """One answer of our session, which is opened anew where there is none."""
        with self._store.in_our_words():
            if self._session is None:
                self._session = self._store.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                self._session.detach()  # its settings and locks are no other statement's
                self._session.execute(text(f"SET idle_session_timeout = {SESSION_S * 1000}"))
            return self._session.execute(text(query)).scalar()

    def _lose(self) -> None:
        self._held.clear()
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _until(self) -> datetime:
        return self._now() + timedelta(seconds=SESSION_S)
