"""A node is kept while it runs, destroyed, and made again; a backup that is not what was written makes nothing."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from tests.store.moving.test_bringing import everything
from triage_node.blobs.opened import open_blobs
from triage_node.blobs.places import built_folder
from triage_node.cli.backup import restore as restore_command
from triage_node.config.load import load
from triage_node.config.store_address import Address
from triage_node.domain.errors import ConfigError, StoreError
from triage_node.instances.archive import Archive, digest_of
from triage_node.processes.moving import backup as keeping
from triage_node.processes.moving.backup import backup, latest, restore
from triage_node.processes.moving.migrate import Tell, migrate
from triage_node.store import audit_chain, instances
from triage_node.store.engine import open_store
from triage_node.store.upgrade import differences

SILENT = Tell(lambda _: None, lambda *_: None)


def store_of(config: Path):
    return closing(open_store(load(config)[0].database_url))


@pytest.fixture
def kept(site: Path, tmp_path: Path) -> tuple[Path, dict[str, list[str]]]:
    """The site with received and built files and a picture, and the names of the files."""
    settings, _ = load(site)
    for folder in (settings.store.data_folder, built_folder(settings.store.data_folder)):
        with closing(Archive(folder)) as archive:
            archive.prepare()
    blobs = open_blobs(settings.store)
    names = {"received": [blobs.received.keep(os.urandom(3000)) for _ in range(3)]}
    names["built"] = [blobs.built.keep(b"an object")]
    picture = settings.store.data_folder / "built" / "display" / "12" / "1.slices"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"a picture")
    return site, names


@pytest.mark.parametrize("engines", ["sqlite postgresql", "postgresql sqlite"])
def test_node_that_was_destroyed_is_there_again_on_either_engine(kept, databases, tmp_path, engines):
    site, names = kept
    first, second = engines.split()
    if first == "postgresql":
        migrate(site, Address(databases.new(first)), SILENT)
    with store_of(site) as store:
        [before] = everything(store)
    done = backup(site, tmp_path / "backups", SILENT)
    assert (done.files, done.copied, done.damaged) == (5, 4, ())
    data = load(site)[0].store.data_folder
    late = open_blobs(load(site)[0].store).received.keep(b"came after the backup")
    saved = (data / "blobs" / late[:2] / f"{late}.dcm").read_bytes()
    shutil.rmtree(data)
    survived = data / "blobs" / late[:2]
    survived.mkdir(parents=True)
    (survived / f"{late}.dcm").write_bytes(saved)
    text = site.read_text().replace(load(site)[0].database_url, "gone")
    lines = [line for line in text.splitlines() if not line.startswith("database_url")]
    site.write_text("\n".join(lines).replace("[store]", f'[store]\ndatabase_url = "{databases.new(second)}"'))

    back = restore(site, latest(tmp_path / "backups"), SILENT)
    assert (back.files, back.without_row) == (5, 1)
    blobs = open_blobs(load(site)[0].store)
    assert all(blobs.received.has(sha256) for sha256 in names["received"])
    assert [blobs.built.read(sha256) for sha256 in names["built"]] == [b"an object"]
    assert (data / "built" / "display" / "12" / "1.slices").read_bytes() == b"a picture"
    with store_of(site) as store:
        [after] = everything(store)
        assert differences(store) == []
        assert len(set(after.pop("audit")) - set(before.pop("audit"))) == 1, "that it was restored"
        assert after == before
        assert audit_chain.verify(store).problem == ""
        assert instances.blobs_without_row(store, [late]) == {late}


def test_second_backup_copies_what_is_new_and_both_can_be_restored(kept, tmp_path):
    site, _ = kept
    first = backup(site, tmp_path / "backups", SILENT)
    open_blobs(load(site)[0].store).received.keep(b"one more")
    second = backup(site, tmp_path / "backups", SILENT)
    assert (second.files, second.copied) == (first.files + 1, 1)
    assert latest(tmp_path / "backups") == second.folder
    for made in (first, second):
        shutil.rmtree(load(site)[0].store.data_folder)
        assert restore(site, made.folder, SILENT).files == made.files


def test_file_that_is_damaged_on_the_disk_is_named_and_not_kept(kept, tmp_path):
    site, names = kept
    path = open_blobs(load(site)[0].store).received.path(names["received"][0])
    path.write_bytes(b"something else")
    done = backup(site, tmp_path / "backups", SILENT)
    assert done.damaged == (names["received"][0],)
    assert done.files == 4


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def say(folder: Path, **other: object) -> None:
    """A manifest that is whole in itself and says something else."""
    body = json.loads((folder / "manifest.json").read_text())["backup"] | other
    (folder / "manifest.json").write_text(json.dumps({"backup": body, "sha256": keeping._digest(body)}))


def a_path_outside(folder: Path) -> None:
    (folder / "files.jsonl").write_text(json.dumps(["other", "0" * 64, "../../etc/passwd"]) + "\n")
    held = digest_of(folder / "files.jsonl")
    say(folder, files={"files.jsonl": held})


def a_row_less(folder: Path) -> None:
    path = folder / "tables" / "timeline.jsonl.gz"
    rows = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join(rows[:-1])))
    tables = json.loads((folder / "manifest.json").read_text())["backup"]["tables"]
    say(folder, tables=tables | {"timeline": {"rows": 3, "sha256": digest_of(path)}})


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda b: flip(b / "tables" / "audit.jsonl.gz"), "audit.jsonl.gz is not what was written"),
        (lambda b: flip(b / "files.jsonl"), "files.jsonl is not what was written"),
        (lambda b: flip(b / "manifest.json"), "backup is damaged: .*manifest.json"),
        (lambda b: flip(next((b.parent / "pool").glob("??/*"))), "pool/.* is not what was written"),
        (lambda b: next((b.parent / "pool").glob("??/*")).unlink(), "backup is not whole: .*pool"),
        (lambda b: (b / "tables" / "study.jsonl.gz").unlink(), "backup is not whole: .*study.jsonl.gz"),
        (lambda b: (b / "manifest.json").unlink(), "half a backup, which was never finished"),
        (lambda b: shutil.rmtree(b), "holds no backup"),
        (lambda b: say(b, revision="9999"), "has schema 9999, which this version does not know"),
        (lambda b: say(b, format=2), "format 2: restore it with a newer version"),
        (a_path_outside, "lies outside the data folder"),
        (a_row_less, "table timeline: 2 rows were read, 3 were written"),
    ],
    ids=lambda v: None if callable(v) else v.split(":")[0][:40],
)
def test_backup_that_is_not_what_was_written_makes_nothing(kept, tmp_path, harm, words):
    site, _ = kept
    harm(backup(site, tmp_path / "backups", SILENT).folder)
    data = load(site)[0].store.data_folder
    shutil.rmtree(data)
    with pytest.raises(StoreError, match=words):
        restore(site, latest(tmp_path / "backups"), SILENT)
    if (data / "triage.db").exists():
        with store_of(site) as store:
            assert everything(store) == [{}], "the transaction was taken back"


def test_node_that_lives_is_not_written_over(kept, tmp_path):
    site, _ = kept
    folder = backup(site, tmp_path / "backups", SILENT).folder
    with store_of(site) as store:
        [before] = everything(store)
    with pytest.raises(StoreError, match=r"holds a node's data: .* move it away first"):
        restore(site, folder, SILENT)
    with store_of(site) as store:
        assert everything(store) == [before]


class Killed(BaseException):
    """Nothing catches it."""


@pytest.mark.parametrize("where", ["files", "instance"])
def test_restore_that_was_killed_is_simply_done_again(kept, tmp_path, where):
    site, _ = kept
    folder = backup(site, tmp_path / "backups", SILENT).folder
    shutil.rmtree(load(site)[0].store.data_folder)

    def kill(name, _):
        if name == where:
            raise Killed

    with pytest.raises(Killed):
        restore(site, folder, Tell(lambda _: None, kill))
    assert restore(site, folder, SILENT).files == 5


def test_backup_that_was_killed_leaves_what_is_refused_and_harms_no_other(kept, tmp_path):
    site, _ = kept
    whole = backup(site, tmp_path / "backups", SILENT).folder

    def kill(name, _):
        if name == "outbox":
            raise Killed

    with pytest.raises(Killed):
        backup(site, tmp_path / "backups", Tell(lambda _: None, kill))
    assert latest(tmp_path / "backups") == whole


def test_no_password_is_in_a_backup(site, databases, tmp_path):
    url = databases.new("postgresql").replace("triage@", "triage:open-sesame@")
    migrate(site, Address(url), SILENT)
    folder = backup(site, tmp_path / "backups", SILENT).folder
    assert all(b"open-sesame" not in p.read_bytes() for p in folder.rglob("*") if p.is_file())
    assert "triage:***@" in (folder / "configuration.toml").read_text()


def test_restore_asks_for_a_configuration(tmp_path):
    for config in (None, tmp_path / "absent.toml"):
        with pytest.raises(ConfigError, match="restore needs the node's configuration"):
            restore_command(config, tmp_path, None)
