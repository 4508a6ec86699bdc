"""The files of a running site move: from the data folder to a shared folder or an object store, from one to the next, or back.

Everything is copied while the node works, each file read back there (blobs/copying.py). Then writes stand still for the last pass,
and in the same transaction the store says where the files are now: whatever began before writes no row any more, ends, and is
started again with the changed configuration (store/moving/whereabouts.py). Reception goes on all the time: what comes lies in the
data folder either way, and goes up from there. Killed at any point, the same command goes on; the old place is kept.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from triage_node.blobs.copying import PATIENCE_S, Copying, Far
from triage_node.blobs.object_store import PROBES, ObjectStore
from triage_node.blobs.opened import by_keys
from triage_node.blobs.places import MOVING, copies_folder
from triage_node.config.load import load
from triage_node.config.schema import Settings
from triage_node.config.store_address import Change, FilesAt, prepared
from triage_node.domain.errors import BlobMissing, BlobsAway, StoreError
from triage_node.instances.archive import Archive
from triage_node.processes.moving.migrate import ACTOR, Tell, alive
from triage_node.processes.running import now
from triage_node.store import audit, heartbeat, uploads
from triage_node.store.engine import Connection, Store, open_store
from triage_node.store.moving import fence, whereabouts
from triage_node.store.uploads import Upload

CARD = "site.json"
"""At every place of files that was moved from or to: whose it is. `place` tells a place from itself under another address."""
_MOST_PASSES = 5
_FEW = 20
"""Files that a pass may still have written for the next to be the last."""
_NAMED = 5


@dataclass(frozen=True, slots=True)
class FilesNow:
    """`missing`: files that rows name and the old place did not have. `copying`: None where only the configuration was left to change."""

    files: int
    missing: tuple[str, ...]
    stood_still_s: float
    left: str
    backup: Path
    roles: tuple[str, ...]
    copying: Copying | None


def migrate_files(config: Path, to: FilesAt, tell: Tell) -> FilesNow:
    """Move the files of this site. Raises: StoreError, BlobsAway, ConfigError; the site goes on where it was then."""
    settings, _ = load(config)
    change = prepared(config, to)
    try:
        with closing(open_store(settings.database_url, settings.store.tenant)) as store:
            return _Move(settings, change, store, tell).made()
    except OSError as error:
        raise StoreError(f"{error.filename or settings.store.data_folder}: {error.strerror}") from error
    finally:
        change.drop()
        shutil.rmtree(settings.store.data_folder / MOVING, ignore_errors=True)


def tidy_up(config: Path, moved: FilesNow, tell: Tell) -> None:
    """When every process is at the new place: what one of them still put at the old one, and copies that nobody trims any more."""
    settings, _ = load(config)
    if moved.copying is not None:
        tell.step("looking once more at the old place")
        try:
            moved.copying.bring_late_pictures()
        except (BlobsAway, OSError) as error:  # a page may lack a picture; what was received and built is there
            tell.step(f"not every late picture was brought: {error}")
        shutil.rmtree(moved.copying.scratch, ignore_errors=True)
    if not settings.store.blob_url:
        shutil.rmtree(copies_folder(settings.store.data_folder), ignore_errors=True)


@dataclass(slots=True)
class _Move:
    settings: Settings
    change: Change
    store: Store
    tell: Tell
    left: str = field(init=False)
    to: str = field(init=False)

    def __post_init__(self) -> None:
        self.left, self.to = self.settings.store.blob_url, self.change.settings.store.blob_url

    def made(self) -> FilesNow:
        here, there = whereabouts.shown(self.left), whereabouts.shown(self.to)
        self.tell.step(f"looking at {here} and {there}")
        if not fence.marks(self.store).holds:
            raise StoreError("there is nothing to move: the store was never made (`triage-node init`)")
        fence.refuse_unfit(self.store)
        with self.store.read() as c:
            before = whereabouts.last_move(c)
        if self.left == self.to:
            raise StoreError(f"the files lie in {there} already")
        roles = alive(self.store)
        if before is not None and before.left == self.left:
            if before.to != self.to:
                raise StoreError(f"the files have moved to {whereabouts.shown(before.to)}, which {there} is not")
            self.tell.step("finishing a move that was made")
            return FilesNow(0, (), 0.0, self.left, self.change.put(now()), roles, None)
        copying = self._ready(here, there)
        for number in range(1, _MOST_PASSES + 1):
            self.tell.step(f"copying files, while the node works (pass {number})")
            few = self._pass(copying, PATIENCE_S) <= _FEW
            _refuse_damaged(copying)
            if few:
                break
        self.tell.step("writes stand still for what is left")
        begun = time.monotonic()
        with fence.writes_stopped(self.store) as c:
            if whereabouts.last_move(c) != before:
                raise StoreError("somebody else moved the files meanwhile")
            self._pass(copying, 0.0)
            _refuse_damaged(copying)
            missing = self._rows_follow(c, set(copying.digests("blobs")))
            whereabouts.moved(c, self.left, self.to, now())
            audit.record(c, now(), ACTOR, "files moved", "store", here, f"{there}, {copying.files} files")
        stood_still = time.monotonic() - begun
        return FilesNow(copying.files, missing, stood_still, self.left, self.change.put(now()), roles, copying)

    def _ready(self, here: str, there: str) -> Copying:
        """Raises: StoreError, BlobsAway when the target will not do; nothing but its card is written there."""
        data = self.settings.store.data_folder
        source, target = by_keys(self.settings.store), by_keys(self.change.settings.store)
        is_spool = not self.to
        if is_spool and (others := self._other_hosts()):
            raise StoreError(f"a data folder serves one host, and {', '.join(others)} are at work; stop them first")
        if not is_spool and any(_is_within(target, folder) for folder in (data, _folder(source))):
            raise StoreError(
                f"{there} lies inside the place that is moved or the data folder; nothing was changed there"
            )
        if words := target.problem():
            raise BlobsAway(words)
        scratch = data / MOVING
        shutil.rmtree(scratch, ignore_errors=True)  # what a command that was killed left
        scratch.mkdir(mode=0o700)
        site = fence.site_of(self.store)
        mine = _card(source, scratch) or _introduced(source, site)
        theirs = _card(target, scratch)
        if theirs is None:
            if not is_spool and any(not key.startswith(PROBES) for key in target.keys("")):
                raise StoreError(f"{there} is not empty and holds no files of this site; nothing was changed there")
            _introduced(target, site)
        elif theirs.get("site") != site:
            raise StoreError(f"{there} holds the files of another site; nothing was changed there")
        elif theirs == mine:
            raise StoreError(
                f"{there} is {here} itself, or a copy of it that was made with its {CARD}: remove that there"
            )
        return Copying(source, target, scratch, is_spool, int(self.settings.store.stop_free_gb * 1e9))

    def _pass(self, copying: Copying, patience_s: float) -> int:
        copying.told = _pace(self.tell)
        return copying.bring(patience_s)

    def _rows_follow(self, c: Connection, held: set[str]) -> tuple[str, ...]:
        """Rows say how each received file stands at the new place. Returns those that the old one did not have."""
        stands = uploads.live(c)
        missing = [s for s in stands.keys() - held if stands[s] is not Upload.LOST]
        if self.to:
            if not self.left:
                uploads.brought_to_shared_store(c, missing)
            return tuple(sorted(s for s in missing if stands[s] is not Upload.DUE))
        here = Archive(self.settings.store.data_folder)
        missing = [s for s in missing if not here.path(s).exists()]
        if due := sum(stands[s] is Upload.DUE for s in missing):
            raise StoreError(f"{due} images that another host received have not gone up yet; wait, or start that host")
        uploads.brought_to_data_folder(c)
        return tuple(sorted(missing))

    def _other_hosts(self) -> list[str]:
        at, me = now(), heartbeat.host()
        seen = (heartbeat.hosts(self.store, role) for role in heartbeat.heartbeats(self.store))
        return sorted({h for of in seen for h, last in of.items() if h != me and at - last < heartbeat.SILENT_AFTER})


def _refuse_damaged(copying: Copying) -> None:
    if damaged := sorted(copying.damaged.items()):
        first = "; ".join(f"{key}: {why}" for key, why in damaged[:_NAMED])
        raise StoreError(
            f"{len(damaged)} damaged files, so that nothing is switched (put them right or take them away): {first}"
        )


def _card(store: ObjectStore, scratch: Path) -> dict[str, str] | None:
    """None where there is none. Whatever else lies under its name is nobody's."""
    read = scratch / CARD
    try:
        store.get(CARD, read)
        held = json.loads(read.read_bytes())
    except BlobMissing:
        return None
    except ValueError:
        return {}
    finally:
        read.unlink(missing_ok=True)
    return held if isinstance(held, dict) else {}


def _introduced(store: ObjectStore, site: str) -> dict[str, str]:
    card = {"site": site, "place": uuid4().hex}
    store.put(CARD, json.dumps(card).encode())
    return card


def _folder(store: ObjectStore) -> Path | None:
    path = store.local(CARD)
    return path.parent if path is not None else None


def _is_within(store: ObjectStore, folder: Path | None) -> bool:
    mine = _folder(store)
    return mine is not None and folder is not None and mine.resolve().is_relative_to(folder.resolve())


def _pace(tell: Tell) -> Callable[[Far], None]:
    begun = time.monotonic()

    def told(far: Far) -> None:
        took = max(time.monotonic() - begun, 0.001)
        left = f", {_words(took * (1 - far.part) / far.part)} left" if far.part else ""
        tell.far(f"{far.files:,} files, {far.bytes / 1e6 / took:,.0f} MB/s, {100 * far.part:.0f} %{left}")

    return told


def _words(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
