"""A running site moves to another database (`triage-node migrate`).

Everything is copied while the node works, each row read back and compared. Then writes stand still for the last pass, which
costs what changed since the one before; in the same transaction the old store gets its fence, so no write can fall between the
two. Reception goes on all the time: an answer waits for the disk, never for the database. Roles find the fence at their next
sign of life, end, and are started again with the new address. Killed at any point, the same command goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from triage_node.config.load import load
from triage_node.config.store_address import Address, Change, prepared
from triage_node.domain.audit import AuditHead
from triage_node.domain.errors import StoreError
from triage_node.processes.running import now
from triage_node.store import audit, audit_chain, heartbeat
from triage_node.store.engine import Store, open_store
from triage_node.store.moving import chain, fence
from triage_node.store.moving.bringing import Bringing, Equal
from triage_node.store.upgrade import is_current, upgrade

ACTOR = "triage-node migrate"
_MOST_PASSES = 5
_FEW = 100
"""Rows that a pass may still have written for the next to be the last."""
_ALIVE = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Tell:
    """Who is told how far it is: words for a step, rows of a table, words for files."""

    step: Callable[[str], None]
    rows: Callable[[str, int], None]
    far: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Moved:
    """`stood_still_s`: how long nobody could write. `backup`: the configuration as it was. `roles`: that were alive."""

    tables: tuple[Equal, ...]
    head: AuditHead | None
    stood_still_s: float
    old: str
    backup: Path
    roles: tuple[str, ...]


def migrate(config: Path, to: Address, tell: Tell) -> Moved:
    """Move the site of this configuration. Raises: StoreError, ConfigError; the site goes on where it was then."""
    settings, _ = load(config)
    change = prepared(config, to)
    try:
        tenant = settings.store.tenant
        with closing(open_store(settings.database_url, tenant)) as source, closing(_opened(to.url, tenant)) as target:
            return _move(source, target, change, settings.database_url, to.url, tell)
    finally:
        change.drop()


def alive(store: Store) -> tuple[str, ...]:
    """Roles that gave a sign of life just now."""
    return tuple(sorted(r for r, (at, _) in heartbeat.heartbeats(store).items() if now() - at < _ALIVE))


def waited_for(config: Path, roles: tuple[str, ...], since: datetime, seconds: float, tell: Tell) -> set[str]:
    """Roles that have not shown themselves at the new store when the time is over."""
    until = time.monotonic() + seconds
    settings, _ = load(config)
    with closing(open_store(settings.database_url, settings.store.tenant)) as store:
        while True:
            beaten = heartbeat.heartbeats(store)
            missing = {role for role in roles if role not in beaten or beaten[role][0] < since}
            if not missing or time.monotonic() > until:
                return missing
            tell.step(f"waiting for {', '.join(sorted(missing))} to come back")
            time.sleep(0.2)


def _opened(url: str, tenant: str) -> Store:
    try:
        return open_store(url, tenant)
    except StoreError as error:
        raise StoreError(f"--to: {error}") from error


def _move(source: Store, target: Store, change: Change, old: str, new: str, tell: Tell) -> Moved:
    here, there = fence.shown(old), fence.shown(new)
    tell.step(f"looking at {here} and {there}")
    mine = fence.marks(source)
    _refuse_source(source, mine)
    theirs = _marks_of_target(target, there)
    roles = alive(source)
    bringing = Bringing(source, target, tell.rows)
    if mine.moved_to:
        tell.step("finishing a move that was made")
        if theirs.site != mine.site or not (theirs.copy_of or theirs.came_from):
            raise StoreError(f"this store has moved to {mine.moved_to}, which {there} is not")
        return _finish(bringing, change, here, there, 0.0, roles, taken_over=not theirs.copy_of)
    site = fence.site_of(source)
    _begin(target, theirs, here, there, site)
    for number in range(1, _MOST_PASSES + 1):
        tell.step(f"copying, while the node works (pass {number})")
        if bringing.live() <= _FEW:
            break
    tell.step("checking the audit chain there")
    verdict = audit_chain.verify(target)
    if verdict.problem:
        raise StoreError(f"the audit chain does not hold: {verdict.problem}")
    tell.step("writes stand still for what is left")
    begun = time.monotonic()
    with fence.writes_stopped(source) as c:
        bringing.bring(c)
        bringing.equal(c)
        with target.read() as t:
            wrong = chain.wrong_after(t, verdict.head)
        if wrong is not None:
            raise StoreError(f"the audit chain does not hold at entry {wrong}")
        fence.leave(c, there)
    return _finish(bringing, change, here, there, begun, roles, taken_over=False)


def _finish(
    bringing: Bringing, change: Change, here: str, there: str, begun: float, roles: tuple[str, ...], taken_over: bool
) -> Moved:
    """The old store is fenced. From here on only the new one can serve, and each step can be done again."""
    tables = tuple[Equal, ...]()
    if not taken_over:
        with bringing.source.read() as c:
            bringing.bring(c)
            tables = tuple(bringing.equal(c))
        with bringing.target.write() as c:
            fence.take_over(c, here, now())
            rows = sum(t.rows for t in tables)
            audit.record(c, now(), ACTOR, "store moved", "store", here, f"{there}, {rows} rows of {len(tables)} tables")
    stood_still = time.monotonic() - begun if begun else 0.0
    backup = change.put(now())
    return Moved(tables, audit_chain.head(bringing.target), stood_still, here, backup, roles)


def _refuse_source(source: Store, mine: fence.Marks) -> None:
    if not mine.holds:
        raise StoreError("there is nothing to move: the store was never made (`triage-node init`)")
    if mine.copy_of:
        raise StoreError(f"this store is itself an unfinished copy of {mine.copy_of}")
    if not is_current(source):
        raise StoreError("the store has another schema; run `triage-node db upgrade` first")
    fence.refuse_shared(source)


def _marks_of_target(target: Store, there: str) -> fence.Marks:
    try:
        return fence.marks(target)
    except StoreError as error:
        raise StoreError(f"{there}: {error}") from error


def _begin(target: Store, theirs: fence.Marks, here: str, there: str, site: str) -> None:
    """Raises: StoreError when the target holds anything but an unfinished copy of this site, or what it left."""
    if theirs.holds and not ((theirs.copy_of or theirs.moved_to) and theirs.site == site):
        raise StoreError(f"{there} is not empty and is no copy of this site; nothing was changed there")
    if theirs.tables and not is_current(target):
        raise StoreError(f"{there} is not empty and has another schema; nothing was changed there")
    if not theirs.tables:
        try:
            upgrade(target)
        except StoreError as error:
            raise StoreError(f"{there}: {error}") from error
    fence.begin_copy(target, here, site)
