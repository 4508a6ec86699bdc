"""The files of a site move and come back: each is read back, nothing is lost to an interruption or to a target that will not do."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.disks import small_disks
from tests.support.object_store import ObjectServer, object_server
from triage_node.blobs import copying
from triage_node.blobs.object_store import SharedFolder
from triage_node.blobs.opened import by_keys, open_blobs
from triage_node.blobs.places import built_folder, copies_folder
from triage_node.cli.setup import initialise
from triage_node.config.load import load
from triage_node.config.schema import StoreSettings
from triage_node.config.store_address import FilesAt
from triage_node.domain.audit import AuditSearch
from triage_node.domain.errors import BlobsAway, ConfigError, StoreError, TriageNodeError
from triage_node.domain.instance import InstanceHeader, ReceivedInstance
from triage_node.instances.archive import Archive
from triage_node.processes.moving import files as moving
from triage_node.processes.moving.files import migrate_files, tidy_up
from triage_node.processes.moving.migrate import ACTOR, Tell
from triage_node.processes.running import now
from triage_node.store import audit_search, heartbeat, instances, retention, uploads
from triage_node.store.engine import open_store
from triage_node.store.moving import whereabouts
from triage_node.store.uploads import Upload

SILENT = Tell(lambda _: None, lambda *_: None)
HOME = FilesAt("")
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(copying, "PATIENCE_S", 0.0)
    monkeypatch.setattr(moving, "PATIENCE_S", 0.0)


@dataclass
class Site:
    """A node with received files and their rows, built ones and a picture. What it holds is known by its bytes."""

    config: Path
    received: dict[str, bytes]
    built: dict[str, bytes]

    @property
    def settings(self) -> StoreSettings:
        return load(self.config)[0].store

    @property
    def data(self) -> Path:
        return self.settings.data_folder

    def store(self):
        return closing(open_store(load(self.config)[0].database_url))

    def receive(self, count: int, upload: Upload = Upload.NEVER) -> None:
        """As the listener leaves it."""
        for _ in range(count):
            data = os.urandom(3000)
            sha256 = keep(self.data, data)
            self.received[sha256] = data
            uid = f"1.2.3.{len(self.received)}"
            header = InstanceHeader(uid, CT, "1.2.3", "1.2.3.9")
            one = ReceivedInstance(sha256, len(data), uid, CT, "1.2.840.10008.1.2.1", now(), header)
            with self.store() as store:
                instances.record_batch(store, [one], upload)

    def build(self, count: int) -> None:
        for _ in range(count):
            data = os.urandom(2000)
            self.built[open_blobs(self.settings).built.keep(data)] = data

    def draw(self, data: bytes) -> None:
        folder = copies_folder(self.data) if self.settings.blob_url else self.data
        path = built_folder(folder) / "display" / "12" / "1234.slices"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        open_blobs(self.settings).publish(path)

    def move(self, to: FilesAt, tell: Tell = SILENT) -> moving.FilesNow:
        moved = migrate_files(self.config, to, tell)
        tidy_up(self.config, moved, SILENT)
        return moved

    def holds_everything(self, picture: bytes) -> bool:
        """At the place that the configuration names, past every copy."""
        place = by_keys(self.settings)
        for prefix, held in (("blobs", self.received), ("built/blobs", self.built)):
            keys = {f"{prefix}/{s[:2]}/{s}.dcm" for s in held}
            assert keys == {k for k in place.keys(prefix) if k.endswith(".dcm")}
            assert all(place.digest(k)[1] == k[-68:-4] for k in keys)
        return place.digest("built/display/12/1234.slices")[1] == hashlib.sha256(picture).hexdigest()

    def stands(self) -> set[Upload]:
        with self.store() as store, store.read() as c:
            return set(uploads.live(c).values())


def keep(folder: Path, data: bytes) -> str:
    sha256 = hashlib.sha256(data).hexdigest()
    Archive(folder).path(sha256).write_bytes(data)
    return sha256


@pytest.fixture
def site(tmp_path: Path) -> Site:
    config = tmp_path / "node.toml"
    list(initialise(config, simulation=True))
    config.write_text(config.read_text().replace("[store]", "[store]\nwarn_free_gb = 0.2\nstop_free_gb = 0.1", 1))
    made = Site(config, {}, {})
    for folder in (made.data, built_folder(made.data)):
        with closing(Archive(folder)) as archive:
            archive.prepare()
    made.receive(7)
    made.build(4)
    made.draw(b"a picture")
    return made


@pytest.fixture(params=["shared folder", "object store"])
def place(request, tmp_path) -> FilesAt:
    if request.param == "shared folder":
        (tmp_path / "mount").mkdir()
        return FilesAt(f"file://{tmp_path / 'mount'}")
    server = request.getfixturevalue("object_store")
    return FilesAt(server.place(), server.credentials)


@pytest.fixture
def mount(tmp_path) -> FilesAt:
    (tmp_path / "mount").mkdir()
    return FilesAt(f"file://{tmp_path / 'mount'}")


@pytest.fixture
def own_object_store(tmp_path) -> Iterator[ObjectServer]:
    with object_server(tmp_path / "objects") as server:
        yield server


def goes_on(site: Site, before: str) -> bool:
    """It serves from where it was, as if nobody had tried."""
    with site.store() as store:
        served = whereabouts.pinned(store, site.settings.blob_url)
        heartbeat.beat(served, "web", now())
    return site.config.read_text() == before and not list(site.config.parent.glob(f".{site.config.name}.*"))


def test_files_move_and_come_back_with_what_was_received_and_removed_meanwhile(site, place):
    before = site.settings
    moved = site.move(place)
    assert (moved.files, moved.missing, moved.left) == (12, (), "")
    assert site.settings.blob_url == place.url
    assert site.holds_everything(b"a picture")
    assert site.stands() == {Upload.MOVED}, (
        "it need not go up again, and its copy in the data folder is no spool to be trimmed"
    )
    assert len(list(Archive(site.data).digests())) == 7, "the source is kept"
    with site.store() as store:
        last = list(audit_search.entries(store, AuditSearch()))[-1]
        assert (last.action, last.actor, last.old) == ("files moved", ACTOR, "the data folder")

        gone = next(iter(site.received))
        open_blobs(site.settings).received.remove(gone)
        retention.source_removed(store, gone, now())
    del site.received[gone]
    site.build(2)
    site.draw(b"a newer picture")
    site.receive(2, Upload.DUE)
    moved = site.move(HOME)
    assert (site.settings.blob_url, site.settings.blob_credentials_file) == ("", place.credentials)
    assert site.settings.model_copy(update={"blob_credentials_file": None}) == before
    assert site.holds_everything(b"a newer picture"), "what was received here and had not gone up is kept too"
    assert site.stands() == {Upload.NEVER}
    assert moved.missing == ()
    assert not copies_folder(site.data).exists(), "nobody would trim them"
    assert not (site.data / "moving").exists()

    site.move(place)
    assert site.holds_everything(b"a newer picture"), (
        "what retention took is gone at the place that was left and is used again"
    )


def test_object_store_to_object_store(site, object_store):
    first, second = (FilesAt(object_store.place(), object_store.credentials) for _ in range(2))
    site.move(first)
    site.build(1)
    moved = site.move(second)
    assert moved.files == 13
    assert site.holds_everything(b"a picture")
    assert by_keys(site.settings.model_copy(update={"blob_url": first.url})).stamp(moving.CARD) is not None
    site.move(first)
    assert site.holds_everything(b"a picture")


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill; what was not committed is gone."""


def _killed(*_: object) -> None:
    raise Killed


def kill_at(number: int) -> Tell:
    def far(_: str) -> None:
        if next(left, None) is None:
            raise Killed

    left = iter(range(number))
    return Tell(lambda _: None, lambda *_: None, far)


@pytest.mark.parametrize(
    "interrupted",
    [
        lambda patch: kill_at(3),
        lambda patch: kill_at(200),
        lambda patch: patch.setattr(moving.fence, "writes_stopped", _killed),
        lambda patch: patch.setattr(moving.whereabouts, "moved", _killed),
        lambda patch: patch.setattr(moving.Change, "put", _killed),
    ],
    ids=["at first files", "in the middle", "before the stop", "in the stop", "file changed"],
)
def test_interrupted_anywhere_one_place_or_none_serves_and_the_same_command_goes_on(
    site, place, monkeypatch, interrupted
):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        site.move(place, interrupted(patch) or SILENT)
    assert site.settings.blob_url == ""
    with site.store() as store:
        try:
            whereabouts.pinned(store, "")
        except StoreError:
            pass  # in the last moment: nothing serves until the command is given again
        else:
            site.receive(1)
            site.build(1)
    site.move(place)
    assert site.holds_everything(b"a picture")


def test_what_was_copied_before_an_interruption_is_not_written_again(site, mount, monkeypatch):
    with pytest.raises(Killed):
        site.move(mount, kill_at(200))
    there = {k for k in by_keys(site.settings.model_copy(update={"blob_url": mount.url})).keys("") if "blobs" in k}
    assert there
    written = []
    whole = SharedFolder.put
    monkeypatch.setattr(SharedFolder, "put", lambda self, key, source: (written.append(key), whole(self, key, source)))
    site.move(mount)
    assert not there & set(written)


def test_who_began_before_the_move_writes_nothing_after_it_and_nobody_begins_at_the_place_that_was_left(site, mount):
    with site.store() as store:
        old = whereabouts.pinned(store, "")
        heartbeat.beat(old, "web", now())
        site.move(mount)
        with pytest.raises(StoreError, match="files of this site have moved"):
            heartbeat.beat(old, "web", now())
        assert whereabouts.moved_since(old) == mount.url
        with pytest.raises(StoreError, match=r"files have moved to file://.*name that in \[store\] blob_url"):
            whereabouts.pinned(store, "")
        heartbeat.beat(whereabouts.pinned(store, mount.url), "web", now())


def test_second_host_follows_with_the_same_command_and_goes_nowhere_else(site, mount, tmp_path):
    text = site.config.read_text()
    site.move(mount)
    second = tmp_path / "second.toml"
    second.write_text(text)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(StoreError, match="the files have moved to file://.*/mount, which file://.*/elsewhere is not"):
        migrate_files(second, FilesAt(f"file://{tmp_path / 'elsewhere'}"), SILENT)
    migrate_files(second, mount, SILENT)
    assert load(second)[0].store.blob_url == mount.url
    with pytest.raises(StoreError, match="lie in file://.*/mount already"):
        migrate_files(second, mount, SILENT)


def test_damaged_source_file_is_named_and_nothing_switches_until_it_is_right(site, place):
    sha256, data = next(iter(site.received.items()))
    path = Archive(site.data).path(sha256)
    path.write_bytes(data[:-1])
    before = site.config.read_text()
    with pytest.raises(
        StoreError, match=f"1 damaged files, so that nothing is switched .*{sha256}.dcm: its bytes are not"
    ):
        site.move(place)
    assert goes_on(site, before)
    path.write_bytes(data)
    site.move(place)
    assert site.holds_everything(b"a picture")


def test_file_that_the_old_place_does_not_have_is_named_and_not_called_uploaded(site, mount):
    sha256 = next(iter(site.received))
    Archive(site.data).remove(sha256)
    assert site.move(mount).missing == (sha256,)
    with site.store() as store, store.read() as c:
        assert uploads.live(c)[sha256] is Upload.NEVER


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda m: (m / "something").write_text("else"), "is not empty and holds no files of this site"),
        (lambda m: (m / "site.json").write_text('{"site": "another"}'), "holds the files of another site"),
        (lambda m: (m / "site.json").write_text("not json"), "holds the files of another site"),
        (lambda m: m.rmdir(), "is no folder; is the file system mounted"),
    ],
    ids=["something else", "another site", "a card that is none", "not mounted"],
)
def test_target_that_will_not_do_is_refused_and_both_are_as_they_were(site, mount, harm, words):
    folder = Path(mount.url.removeprefix("file://"))
    harm(folder)
    held = sorted(p.name for p in folder.rglob("*"))
    before = site.config.read_text()
    with pytest.raises(TriageNodeError, match=words):
        site.move(mount)
    assert sorted(p.name for p in folder.rglob("*")) == held
    assert goes_on(site, before)


def test_wrong_urls_are_told_in_words(site, tmp_path, object_store, monkeypatch):
    before = site.config.read_text()
    for url, words in [
        ("nonsense", "not of the form s3://bucket/prefix or file:///path"),
        ("s3://bucket/x?secret_access_key=y", "blob_credentials_file"),
        (f"file://{site.data}", "lies inside the place that is moved or the data folder"),
        (f"file://{site.data}/cache", "lies inside the place that is moved or the data folder"),
        (object_store.url(bucket="nobody-made-it"), "there is no bucket 'nobody-made-it'"),
    ]:
        with pytest.raises(TriageNodeError) as refused:
            site.move(FilesAt(url, object_store.credentials))
        assert words in str(refused.value), url
    keys = tmp_path / "keys"
    keys.write_text("access_key_id = node\nsecret_access_key = guess\n")
    with pytest.raises(BlobsAway, match="refuses the credentials"):
        site.move(FilesAt(object_store.place(), keys))
    monkeypatch.setenv("TRIAGE_NODE__STORE__BLOB_URL", "")
    with pytest.raises(ConfigError, match="comes from the environment TRIAGE_NODE__STORE__BLOB_URL"):
        site.move(FilesAt(object_store.place(), object_store.credentials))
    assert goes_on(site, before)


def test_same_place_under_another_address_is_no_target(site, object_store, tmp_path):
    first = FilesAt(object_store.place(), object_store.credentials)
    site.move(first)
    before = site.config.read_text()
    with pytest.raises(StoreError, match="itself, or a copy of it"):
        site.move(FilesAt(first.url.replace("region=us-east-1", "region=eu-west-1")))
    assert goes_on(site, before)


def test_target_that_is_full_says_so_and_can_be_filled_when_there_is_room(site, tmp_path):
    before = site.config.read_text()
    with small_disks({"there": tmp_path / "there"}, megabytes=4) as disks:
        to = FilesAt(f"file://{disks.path(tmp_path / 'there')}")
        disks.fill("there")
        with pytest.raises(BlobsAway, match="No space left"):
            site.move(to)
        assert goes_on(site, before)
        disks.make_room("there")
        site.move(to)
        assert site.holds_everything(b"a picture")


def test_target_that_goes_away_in_the_middle_stops_the_move_and_is_gone_on_with_when_it_is_back(site, own_object_store):
    to = FilesAt(own_object_store.place(), own_object_store.credentials)
    before = site.config.read_text()
    told = iter(range(5))

    def far(_: str) -> None:
        if next(told, None) is None:
            own_object_store.kill()

    with pytest.raises(BlobsAway, match="cannot be reached"):
        site.move(to, Tell(lambda _: None, lambda *_: None, far))
    assert goes_on(site, before)
    own_object_store.start()
    site.move(to)
    assert site.holds_everything(b"a picture")


def test_store_that_comes_back_within_a_minute_is_waited_for(site, mount, monkeypatch):
    monkeypatch.setattr(moving, "PATIENCE_S", 60.0)
    monkeypatch.setattr(copying, "FIRST_PAUSE_S", 0.01)
    whole, failed = SharedFolder.digest, []

    def digest(self: SharedFolder, key: str) -> tuple[int, str]:
        if len(failed) < 3:
            failed.append(key)
            raise BlobsAway("away for a moment")
        return whole(self, key)

    monkeypatch.setattr(SharedFolder, "digest", digest)
    site.move(mount)
    assert site.holds_everything(b"a picture")


def test_data_folder_is_no_place_for_several_hosts_nor_while_images_lie_on_another(site, mount, monkeypatch):
    site.move(mount)
    site.receive(1, Upload.DUE)
    before = site.config.read_text()
    sha256 = list(site.received)[-1]
    path = Archive(site.data).path(sha256)
    path.rename(path.with_suffix(".elsewhere"))
    with pytest.raises(StoreError, match="1 images that another host received have not gone up yet"):
        site.move(HOME)
    path.with_suffix(".elsewhere").rename(path)
    with site.store() as store, monkeypatch.context() as patch:
        patch.setattr(heartbeat, "host", lambda: "second")
        heartbeat.beat(store, "ingest", now())
    with pytest.raises(StoreError, match="a data folder serves one host, and second are at work"):
        site.move(HOME)
    assert goes_on(site, before)


def test_copies_that_come_back_are_not_trimmed_meanwhile(site, mount):
    site.move(mount)
    blobs = open_blobs(site.settings)
    os.utime(Archive(site.data).path(next(iter(site.received))), (1, 1))
    (site.data / "moving").mkdir()
    assert blobs.trim(lambda digests: set(digests)) == 0
    (site.data / "moving").rmdir()
    assert blobs.trim(lambda digests: set(digests)) == 1


def test_picture_that_an_old_process_put_at_the_old_place_comes_after_all(site, mount):
    moved = migrate_files(site.config, mount, SILENT)
    late = site.data / "built" / "display" / "ab" / "ab.slices"
    late.parent.mkdir()
    late.write_bytes(b"late")
    tidy_up(site.config, moved, SILENT)
    assert by_keys(site.settings).digest("built/display/ab/ab.slices")[1] == hashlib.sha256(b"late").hexdigest()


def test_site_that_was_never_made_has_nothing_to_move(tmp_path):
    config = tmp_path / "node.toml"
    config.write_text(f'[store]\ndata_folder = "{tmp_path}"\n')
    with pytest.raises(StoreError):
        migrate_files(config, FilesAt(f"file://{tmp_path}/x"), SILENT)


def test_rate_and_time_left_are_told(site, mount):
    said: list[str] = []
    site.move(mount, Tell(lambda _: None, lambda *_: None, said.append))
    assert said[-1].startswith("0 files") or "100 %" in said[-1]
    assert any("MB/s" in words and "left" in words for words in said)
