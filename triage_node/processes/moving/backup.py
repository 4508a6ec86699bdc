"""`triage-node backup` and `restore`: a node as files, and a node made of them.

A backup is a folder named by its time: every table at one instant, lists of files, the configuration without secrets, and at
last `manifest.json` with a hash of each; one without it is half a backup and is refused. Files lie beside it in a pool by their
hash, which all backups of that folder share. The rows are read first, then the files: a file that came in between is one that
has no row yet, and the node makes its row after a restore, as it does after a crash.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tomlkit

from triage_node import __version__
from triage_node.blobs.opened import open_blobs
from triage_node.blobs.places import Shelf, built_folder, copies_folder
from triage_node.config.load import load
from triage_node.config.schema import Settings
from triage_node.domain.errors import BlobMissing, ConfigError, StoreError
from triage_node.instances.archive import Archive, digest_of, flush_folder
from triage_node.processes.moving.migrate import Tell
from triage_node.processes.moving.pool import Pool, copied
from triage_node.processes.running import now
from triage_node.store import audit
from triage_node.store.engine import Store, is_made, open_store
from triage_node.store.moving import dump, fence, whereabouts

ACTOR = "triage-node backup"
_FORMAT = 1
_MANIFEST, _POOL, _TABLES, _FILES, _CONFIG = "manifest.json", "pool", "tables", "files.jsonl", "configuration.toml"
_RECEIVED, _BUILT, _OTHER = "received", "built", "other"


@dataclass(frozen=True, slots=True)
class Kept:
    """`damaged`: files whose bytes are not those of their name; they are not in the backup."""

    folder: Path
    rows: int
    files: int
    copied: int
    damaged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Restored:
    """`without_row`: received files that lay here and that the backup does not know; the node makes their rows when it starts."""

    rows: int
    files: int
    without_row: int
    made_at: str


def backup(config: Path | None, folder: Path, tell: Tell) -> Kept:
    """Keep the node of this configuration, while it runs. Raises: StoreError, ConfigError, OSError."""
    settings, _ = load(config)
    with closing(open_store(settings.database_url, settings.store.tenant)) as store:
        fence.refuse_unfit(store)
        whereabouts.pinned(store, settings.store.blob_url)  # a configuration that names the place that was left
        target = folder / now().strftime("%Y-%m-%dT%H-%M-%S-%fZ")
        tables = _keep_tables(store, target, tell)
        tell.step("copying files that no backup here has")
        listed, copies, damaged = _keep_files(settings, target, Pool(folder / _POOL), tell)
        if config is not None:
            (target / _CONFIG).write_text(_without_secrets(config), encoding="utf-8")
        rows = _finish(settings, target, tables)
        with store.write() as c:
            audit.record(c, now(), ACTOR, "store backed up", "store", new=f"{rows} rows, {listed} files")
    return Kept(target, rows, listed, copies, tuple(damaged))


def keep_rows(settings: Settings, store: Store, target: Path, tell: Tell) -> int:
    """A backup without files: before the schema changes, where no file of the database can be copied. Returns its rows."""
    tables = _keep_tables(store, target, tell)
    (target / _FILES).touch()
    return _finish(settings, target, tables)


def _keep_tables(store: Store, target: Path, tell: Tell) -> dict[str, Any]:
    (target / _TABLES).mkdir(parents=True, mode=0o700)
    tell.step("reading every table, at one instant")
    return dump.write(store, target / _TABLES, tell.rows)


def _finish(settings: Settings, target: Path, tables: dict[str, Any]) -> int:
    """Returns how many rows it has."""
    manifest = {
        "format": _FORMAT,
        "version": __version__,
        "made_at": now().isoformat(),
        "node": settings.node.name,
        **tables,
        "files": {name: digest_of(target / name) for name in (_FILES, _CONFIG) if (target / name).exists()},
    }
    _write_last(target / _MANIFEST, manifest)
    return sum(int(t["rows"]) for t in tables["tables"].values())


def restore(config: Path, source: Path, tell: Tell) -> Restored:
    """Make the node of this configuration what the backup holds. Raises: StoreError, ConfigError, OSError; a store that holds
    anything is not touched."""
    settings, _ = load(config)
    made, pool = _read_manifest(source), Pool(source.parent / _POOL)
    settings.store.data_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    tell.step("checking the backup")
    dump.check(source / _TABLES, made)
    files = list(_listed(source))
    _check_files(files, pool, tell)
    url = settings.database_url
    if is_made(url):
        with closing(open_store(url, settings.store.tenant)) as store:
            if (held := fence.marks(store)).tables:
                what = "a node's data" if held.holds else f"{held.tables} tables"
                raise StoreError(
                    f"{fence.shown(url)} holds {what}: a backup is restored into an empty place only; move it away first"
                )
    tell.step("bringing files back")
    for number, (kind, sha256, name) in enumerate(files, 1):
        _bring_back(settings, kind, sha256, name, pool)
        tell.rows("files", number)
    tell.step("making the store")
    with closing(open_store(url, settings.store.tenant)) as store:
        dump.read(store, source / _TABLES, made, tell.rows)
        rows = sum(t["rows"] for t in made["tables"].values())
        words = f"made at {made['made_at']} by version {made['version']}, {rows} rows"
        with store.write() as c:
            whereabouts.forget(c)
            audit.record(c, now(), ACTOR, "store restored", "store", new=words)
    known = {sha256 for kind, sha256, _ in files if kind == _RECEIVED}
    without_row = sum(1 for sha256 in Archive(settings.store.data_folder).digests() if sha256 not in known)
    return Restored(rows, len(files), without_row, str(made["made_at"]))


def latest(folder: Path) -> Path:
    """The newest whole backup of a folder of backups, or the folder itself where it is one. Raises: StoreError."""
    if (folder / _MANIFEST).is_file():
        return folder
    found = sorted(p.parent for p in folder.glob(f"*/{_MANIFEST}"))
    if not found:
        begun = any(folder.glob(f"*/{_TABLES}")) or (folder / _TABLES).is_dir()
        words = "half a backup, which was never finished" if begun else "no backup"
        raise StoreError(f"{folder} holds {words}; name the folder that `triage-node backup` was given")
    return found[-1]


def _keep_files(settings: Settings, target: Path, pool: Pool, tell: Tell) -> tuple[int, int, list[str]]:
    """Returns how many files are listed, how many of them were copied, and what is damaged."""
    blobs, listed, copies, damaged = open_blobs(settings.store), 0, 0, list[str]()
    with (target / _FILES).open("x", encoding="utf-8") as lines:
        for kind, shelf, here in (
            (_RECEIVED, blobs.received, settings.store.data_folder),
            (_BUILT, blobs.built, built_folder(settings.store.data_folder)),
        ):
            for sha256 in sorted({*shelf.digests(), *Archive(here).digests()}):
                if not pool.has(sha256):
                    found = _put(pool, shelf, sha256)
                    if found != sha256:
                        damaged += [sha256] if found else []
                        continue
                    copies += 1
                lines.write(f"{json.dumps([kind, sha256, ''])}\n")
                listed += 1
                tell.rows("files", listed)
        for name, path in blobs.published():
            try:
                sha256 = pool.put(path)
            except FileNotFoundError:  # it was replaced meanwhile; the next backup has it
                continue
            lines.write(f"{json.dumps([_OTHER, sha256, name])}\n")
            listed += 1
            tell.rows("files", listed)
    return listed, copies, damaged


def _put(pool: Pool, shelf: Shelf, sha256: str) -> str:
    """The hash of what was found, empty when retention took it meanwhile."""
    try:
        return pool.put(shelf.path(sha256))
    except (BlobMissing, FileNotFoundError):
        return ""


def _bring_back(settings: Settings, kind: str, sha256: str, name: str, pool: Pool) -> None:
    blobs = open_blobs(settings.store)
    if kind == _OTHER:
        folder = settings.store.data_folder
        target = (copies_folder(folder) if blobs.is_shared else folder) / name
        if target.exists():
            return
        _copy(pool.path(sha256), target)
        blobs.publish(target)
        return
    shelf = blobs.received if kind == _RECEIVED else blobs.built
    if blobs.is_shared:
        if not shelf.has(sha256):
            shelf.keep(pool.path(sha256).read_bytes())
        return
    here = Archive(settings.store.data_folder if kind == _RECEIVED else built_folder(settings.store.data_folder))
    target = here.path(sha256)
    if not (target.exists() and here.verify(sha256)):
        target.unlink(missing_ok=True)
        _copy(pool.path(sha256), target)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f"{os.getpid()}-{target.name}.tmp")
    try:
        copied(source, new)
        os.replace(new, target)
    finally:
        new.unlink(missing_ok=True)
    flush_folder(target.parent)


def _read_manifest(source: Path) -> dict[str, Any]:
    try:
        text = (source / _MANIFEST).read_bytes()
        made = json.loads(text)
        body, said = made["backup"], made["sha256"]
        if said != _digest(body):
            raise StoreError(f"the backup is damaged: {source / _MANIFEST} is not what was written")
        if body["format"] != _FORMAT:
            raise StoreError(f"the backup has format {body['format']}: restore it with a newer version")
        for name, sha256 in body["files"].items():
            if digest_of(source / name) != sha256:
                raise StoreError(f"the backup is damaged: {source / name} is not what was written")
    except OSError as error:
        raise StoreError(f"the backup is not whole: {error.filename}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"the backup is damaged: {source / _MANIFEST} cannot be read") from error
    return dict(body)


def _listed(source: Path) -> Iterator[tuple[str, str, str]]:
    with (source / _FILES).open(encoding="utf-8") as lines:
        for line in lines:
            kind, sha256, name = json.loads(line)
            if ".." in Path(name).parts or Path(name).is_absolute():
                raise StoreError(f"the backup is damaged: {name[:80]!r} lies outside the data folder")
            yield kind, sha256, name


def _check_files(files: list[tuple[str, str, str]], pool: Pool, tell: Tell) -> None:
    for number, (_, sha256, _) in enumerate(files, 1):
        try:
            if digest_of(pool.path(sha256)) != sha256:
                raise StoreError(f"the backup is damaged: {pool.path(sha256)} is not what was written")
        except OSError as error:
            raise StoreError(f"the backup is not whole: {pool.path(sha256)}: {error.strerror}") from error
        tell.rows("files", number)


def _without_secrets(config: Path) -> str:
    """The file with every address that holds a password cut short. Files that it names are not in the backup."""
    tree = tomlkit.parse(config.read_text(encoding="utf-8"))

    def mask(node: Any) -> None:
        for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
            if isinstance(value, dict | list):
                mask(value)
            elif isinstance(value, str) and "://" in value and (password := _password(value)):
                node[key] = value.replace(f":{password}@", ":***@")

    mask(tree)
    return tomlkit.dumps(tree)


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError as error:
        raise ConfigError("the configuration holds an address that is none") from error


def _write_last(path: Path, body: dict[str, Any]) -> None:
    new = path.with_suffix(".new")
    with new.open("x", encoding="utf-8") as file:
        json.dump({"backup": body, "sha256": _digest(body)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    for folder in (path.parent / _TABLES, path.parent):
        for written in folder.iterdir():
            if written.is_file():
                with written.open("rb") as file_of:
                    os.fsync(file_of.fileno())
        flush_folder(folder)
    os.replace(new, path)
    flush_folder(path.parent)
    flush_folder(path.parent.parent)


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
