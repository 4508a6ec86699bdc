"""Makes one database equal to another, chunk by chunk, and proves it by reading back.

A pass walks every table in chunks of rows. A chunk that is not known from an earlier pass is compared with what the target
holds under the same keys; what differs is written, read back and compared. So a pass that was killed is simply done again, and
a second pass costs what changed since the first. Only the last one is done while nobody may write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256

from sqlalchemy import Connection, func, select

from triage_node.domain.errors import StoreError
from triage_node.store.engine import Store
from triage_node.store.moving import tables
from triage_node.store.moving.tables import Values, Whole
from triage_node.store.schema import meta

ROWS = 1000
"""In one chunk: what is written, read back and committed at once."""

_FIXED = ("audit", "worklist_move")
"""Tables whose rows never change (migration 0017; moves have no statement that would) and give their number to no other row."""
_NEVER_CHANGES = {"instance": ("header",)}
"""Columns that are most of a row and stay what they were under one hash: known chunks are read again without them."""

Told = Callable[[str, int], None]
"""table, rows of it that are known to be equal now"""


@dataclass(slots=True)
class _Chunk:
    after: Values | None
    last: Values
    rows: int
    changing: str
    whole: str


@dataclass(frozen=True, slots=True)
class Equal:
    """A table that is the same here and there."""

    name: str
    rows: int
    sha256: str


@dataclass(slots=True)
class Bringing:
    """From one store to another of the same revision. `told` is called as rows are known to be equal."""

    source: Store
    target: Store
    told: Told = lambda _, __: None
    _known: dict[str, list[_Chunk]] = field(default_factory=dict)
    _wholes: list[Whole] = field(default_factory=list)

    def live(self) -> int:
        """One pass over a snapshot, while others write. Returns how many rows were written. Raises: StoreError."""
        with snapshot(self.source) as c:
            return self.bring(c)

    def bring(self, c: Connection) -> int:
        """One pass over what this connection sees."""
        if not self._wholes:
            self._wholes = tables.tables_of(c)
            self._check_columns()
        written = sum(self._table(c, whole) for whole in self._wholes)
        for whole in reversed(self._wholes):
            if self._count_there(whole) != sum(k.rows for k in self._known[whole.name]):
                self._remove_surplus(c, whole)
        with self.target.write() as there:
            tables.set_sequences(there, self._wholes)
        return written

    def equal(self, c: Connection) -> list[Equal]:
        """What the last pass saw, after counting again on both sides. Raises: StoreError when a count differs."""
        found = []
        with self.target.read() as there:
            for whole in self._wholes:
                chunks = self._known.get(whole.name, [])
                rows = sum(k.rows for k in chunks)
                here_rows, there_rows = tables.count(c, whole), tables.count(there, whole)
                if not here_rows == there_rows == rows:
                    raise StoreError(f"table {whole.name}: {here_rows} rows here, {there_rows} there, {rows} compared")
                together = sha256("".join(k.whole for k in chunks).encode()).hexdigest()
                found.append(Equal(whole.name, rows, together))
        return found

    def _count_there(self, whole: Whole) -> int:
        with self.target.read() as there:
            return tables.count(there, whole)

    def _check_columns(self) -> None:
        with self.target.read() as there:
            theirs = {w.name: sorted(w.columns) for w in tables.tables_of(there)}
        mine = {w.name: sorted(w.columns) for w in self._wholes}
        if mine != theirs:
            name = next(n for n in sorted({*mine, *theirs}) if mine.get(n) != theirs.get(n))
            raise StoreError(f"the target has another schema: table {name} differs")

    def _table(self, c: Connection, whole: Whole) -> int:
        known, kept, written, done = self._known.get(whole.name, []), list[_Chunk](), 0, 0
        last = known[-1].last if known else None
        if whole.name in _FIXED and known and tables.count(c, whole, last) == sum(k.rows for k in known):
            kept, known = known, []
        for chunk in known:
            seen = tables.rows_between(c, whole, chunk.after, chunk.last, _may_change(whole))
            if tables.digest(seen) != chunk.changing:
                rows = tables.rows_between(c, whole, chunk.after, chunk.last)
                written += self._written(c, whole, rows)
                chunk = _seen(whole, chunk.after, chunk.last, rows)
            kept.append(chunk)
            done += chunk.rows
            self.told(whole.name, done)
        done = sum(k.rows for k in kept)
        while rows := tables.rows_after(c, whole, last, ROWS):
            written += self._written(c, whole, rows)
            kept.append(_seen(whole, last, whole.key_of(rows[-1]), rows))
            last = kept[-1].last
            done += len(rows)
            self.told(whole.name, done)
        self._known[whole.name] = kept
        return written

    def _written(self, c: Connection, whole: Whole, rows: list[Values]) -> int:
        try:
            return self._make_equal(whole, rows)
        except StoreError:
            # a row that is gone at the source may still hold a unique value there that a new one has
            if not sum(self._remove_surplus(c, w) for w in reversed(self._wholes)):
                raise
            return self._make_equal(whole, rows)

    def _make_equal(self, whole: Whole, rows: list[Values]) -> int:
        """Make the target hold exactly these rows under their keys, and read back what was written."""
        mine = {whole.key_of(r): r for r in rows}
        with self.target.write() as there:
            theirs = tables.rows_of(there, whole, list(mine))
            new = [r for key, r in mine.items() if key not in theirs]
            other = [r for key, r in mine.items() if key in theirs and theirs[key] != r]
            tables.change(there, whole, other)
            tables.add(there, whole, new)
            back = tables.rows_of(there, whole, [whole.key_of(r) for r in (*new, *other)])
            if wrong := sum(mine[key] != r for key, r in back.items()) + len(new) + len(other) - len(back):
                raise StoreError(f"table {whole.name}: {wrong} rows were read back differently than written")
        return len(new) + len(other)

    def _remove_surplus(self, c: Connection, whole: Whole) -> int:
        """Rows of the target that are not at the source."""
        with self.target.write() as there:
            gone = tables.keys(there, whole) - tables.keys(c, whole)
            tables.remove(there, whole, gone)
        return len(gone)


def _may_change(whole: Whole) -> list[str]:
    return [name for name in whole.columns if name not in _NEVER_CHANGES.get(whole.name, ())]


def _seen(whole: Whole, after: Values | None, last: Values, rows: list[Values]) -> _Chunk:
    at = [whole.columns.index(name) for name in _may_change(whole)]
    return _Chunk(after, last, len(rows), tables.digest([tuple(r[k] for k in at) for r in rows]), tables.digest(rows))


@contextmanager
def snapshot(store: Store) -> Iterator[Connection]:
    """Everything as it was at one instant, while others write. Raises: StoreError."""
    with store.read() as c:
        if store.is_sqlite:
            c.exec_driver_sql("BEGIN")
        else:
            c = c.execution_options(isolation_level="REPEATABLE READ")
        c.execute(select(func.count()).select_from(meta)).one()  # the first read fixes the instant
        try:
            yield c
        finally:
            c.rollback()
