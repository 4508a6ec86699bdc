"""A store as files: one a table, a row a line, that any later version and either engine can read.

What is written is one instant of the store. What is read becomes a store in one transaction: all of it or nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, DateTime

from triage_node.domain.errors import StoreError
from triage_node.store import audit_chain
from triage_node.store.engine import Store
from triage_node.store.moving import chain, tables
from triage_node.store.moving.bringing import snapshot
from triage_node.store.moving.tables import Values, Whole
from triage_node.store.upgrade import knows, make_at, revision, upgrade

_ROWS = 1000
Told = Callable[[str, int], None]


def write(store: Store, folder: Path, told: Told) -> dict[str, Any]:
    """Every table into a file of this folder. Returns what `read` wants to be told. Raises: StoreError, OSError."""
    found: dict[str, Any] = {}
    with snapshot(store) as c:
        at = revision(c)
        for whole in tables.tables_of(c):
            found[whole.name] = _write_table(c, whole, folder / f"{whole.name}.jsonl.gz", told)
        wrong = chain.wrong_after(c, None)
    if wrong is not None:
        raise StoreError(f"the audit chain does not hold at entry {wrong}: this is no state to keep")
    return {"revision": at, "engine": store.engine.dialect.name, "tables": found}


def check(folder: Path, said: dict[str, Any]) -> None:
    """Raises: StoreError when this version cannot read it, or a file is not what was written."""
    if not knows(str(said["revision"])):
        raise StoreError(
            f"the backup has schema {said['revision']}, which this version does not know: restore it with a newer one"
        )
    for name, of_table in said["tables"].items():
        path = folder / f"{name}.jsonl.gz"
        try:
            with path.open("rb") as file:
                held = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise StoreError(f"the backup is not whole: {path} cannot be read ({error.strerror})") from error
        if held != of_table["sha256"]:
            raise StoreError(f"the backup is damaged: {path} is not what was written")


def read(store: Store, folder: Path, said: dict[str, Any], told: Told) -> None:
    """Make this empty database the store that was written, and bring it to today's schema. Raises: StoreError, OSError."""
    with store.write() as c:
        make_at(c, str(said["revision"]), store.tenant)
        wholes = {whole.name: whole for whole in tables.tables_of(c)}
        if wholes.keys() != said["tables"].keys():
            raise StoreError("the backup has other tables than its schema")
        for name, whole in wholes.items():
            rows = _read_table(c, whole, folder / f"{name}.jsonl.gz", told)
            if rows != said["tables"][name]["rows"] or tables.count(c, whole) != rows:
                raise StoreError(f"table {name}: {rows} rows were read, {said['tables'][name]['rows']} were written")
        tables.set_sequences(c, list(wholes.values()))
        if (wrong := chain.wrong_after(c, None)) is not None:
            raise StoreError(f"the audit chain does not hold at entry {wrong}")
    upgrade(store)
    verdict = audit_chain.verify(store)
    if verdict.problem:
        raise StoreError(f"the audit chain does not hold: {verdict.problem}")


def _write_table(c: Connection, whole: Whole, path: Path, told: Told) -> dict[str, Any]:
    rows = 0
    with path.open("xb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=5, mtime=0) as file:
        file.write(f"{json.dumps(whole.columns)}\n".encode())
        for chunk in tables.chunks(c, whole, _ROWS):
            file.write("".join(f"{json.dumps(r, default=_instant)}\n" for r in chunk).encode())
            rows += len(chunk)
            told(whole.name, rows)
    with path.open("rb") as written:
        return {"rows": rows, "sha256": hashlib.file_digest(written, "sha256").hexdigest()}


def _read_table(c: Connection, whole: Whole, path: Path, told: Told) -> int:
    done, waiting = 0, list[Values]()
    with gzip.open(path, "rt", encoding="utf-8") as file:
        if json.loads(next(file)) != whole.columns:
            raise StoreError(f"table {whole.name}: the backup has other columns")
        instants = [k for k, n in enumerate(whole.columns) if isinstance(whole.table.c[n].type, DateTime)]
        for line in file:
            row = json.loads(line)
            for k in instants:
                row[k] = None if row[k] is None else datetime.fromisoformat(row[k])
            waiting.append(tuple(row))
            if len(waiting) == _ROWS:
                done += _add(c, whole, waiting)
                told(whole.name, done)
    done += _add(c, whole, waiting)
    told(whole.name, done)
    return done


def _add(c: Connection, whole: Whole, waiting: list[Values]) -> int:
    """Write them and read them back."""
    tables.add(c, whole, waiting)
    back = tables.rows_of(c, whole, [whole.key_of(r) for r in waiting])
    if list(back.values()) != waiting and any(back.get(whole.key_of(r)) != r for r in waiting):
        raise StoreError(f"table {whole.name}: rows were read back differently than written")
    count = len(waiting)
    waiting.clear()
    return count


def _instant(value: object) -> str:
    assert isinstance(value, datetime), type(value)
    return value.isoformat()
