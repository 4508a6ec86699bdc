"""The same promises wherever bytes lie, and what one host keeps another one reads."""

import hashlib
import os
import subprocess
import sys

import fsspec
import obstore.fsspec
import pytest

from tests.blobs.conftest import settings
from triage_node.blobs import shared
from triage_node.blobs.opened import open_blobs
from triage_node.blobs.places import copies_folder, keep_bytes
from triage_node.domain.errors import BlobDamaged, BlobMissing, ConfigError, StoreError
from triage_node.instances.archive import Archive

DATA = bytes(range(256)) * 3000
DIGEST = hashlib.sha256(DATA).hexdigest()


def received(folder, data=DATA):
    """As a listener leaves it."""
    archive = Archive(folder)
    archive.prepare()
    digest = keep_bytes(archive, data)
    archive.close()
    return digest


def prepared(blobs, folder):
    Archive(folder / "built").prepare()
    return blobs


def test_what_is_kept_is_read_listed_and_removed(host, tmp_path):
    blobs = prepared(host("a"), tmp_path / "a")
    assert blobs.built.keep(DATA) == DIGEST
    assert blobs.built.has(DIGEST)
    assert blobs.built.read(DIGEST) == DATA
    assert blobs.built.path(DIGEST).read_bytes() == DATA
    assert list(blobs.built.digests()) == [DIGEST]
    assert list(blobs.received.digests()) == []
    blobs.built.remove(DIGEST)
    blobs.built.remove(DIGEST)
    assert not blobs.built.has(DIGEST)
    with pytest.raises(BlobMissing):
        blobs.built.read(DIGEST)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "AB" * 32, "1.2.840.113619"])
def test_name_that_is_no_digest_is_refused(host, name):
    blobs = host("a")
    for ask in (blobs.received.path, blobs.received.read, blobs.built.has, blobs.built.remove):
        with pytest.raises(StoreError):
            ask(name)


def test_what_one_host_received_another_one_reads_after_the_upload(shared_host, tmp_path):
    a, b = shared_host("a"), shared_host("b")
    assert received(tmp_path / "a") == DIGEST
    assert a.received.path(DIGEST) == Archive(tmp_path / "a").path(DIGEST), "the spool is read where it lies"
    assert not b.received.has(DIGEST)
    with pytest.raises(BlobMissing):
        b.received.path(DIGEST)
    for _ in range(2):
        a.received.upload(DIGEST)
    b.received.fetch([DIGEST, "0" * 64])
    assert b.received.read(DIGEST) == DATA
    assert Archive(tmp_path / "a").path(DIGEST).read_bytes() == DATA, "the upload leaves the spool alone"
    b.received.remove(DIGEST)
    assert not b.received.has(DIGEST)


def test_spool_copy_whose_bytes_changed_is_not_uploaded(shared_host, tmp_path):
    a = shared_host("a")
    received(tmp_path / "a")
    Archive(tmp_path / "a").path(DIGEST).write_bytes(DATA[:-1])
    with pytest.raises(BlobDamaged, match="not those that were received"):
        a.received.upload(DIGEST)
    assert list(a.received.digests()) == []


def test_published_file_follows_its_writer(shared_host, tmp_path, monkeypatch):
    monkeypatch.setattr(shared, "LOOKED_AT_S", 0.0)
    a, b = shared_host("a"), shared_host("b")
    here, there = (copies_folder(tmp_path / name) / "built" / "display" / "x.slices" for name in ("a", "b"))
    here.parent.mkdir(parents=True)
    b.refresh(there)
    assert not there.exists()
    for data in (b"first", b"second"):
        here.write_bytes(data)
        a.publish(here)
        b.refresh(there)
        a.refresh(here)
        assert there.read_bytes() == here.read_bytes() == data
        assert [(name, path.read_bytes()) for name, path in b.published()] == [("built/display/x.slices", data)]
    a.withdraw(here)
    b.refresh(there)
    assert not here.exists()
    assert not there.exists()


def test_room_is_made_from_the_oldest_copies_that_lie_safely_elsewhere(shared_host, tmp_path, monkeypatch):
    a = shared_host("a")
    digests = [received(tmp_path / "a", DATA + bytes([n])) for n in range(4)]
    spool = Archive(tmp_path / "a")
    for n, digest in enumerate(digests):
        os.utime(spool.path(digest), (1e9 + n, 1e9 + n))
    built = a.built.keep(DATA)
    a._cache_bytes = 2 * len(DATA) + 10  # noqa: SLF001
    asked = []

    def may_go(wanted):
        asked.extend(wanted)
        return set(digests[1:])

    assert a.trim(may_go) == 3, "as many as it takes, and never the one whose upload nobody confirmed"
    assert asked == digests
    assert [spool.path(d).exists() for d in digests] == [True, False, False, False]
    assert a.built.read(built) == DATA


def test_copy_that_nobody_used_for_a_day_goes(shared_host, tmp_path):
    a, b = shared_host("a"), shared_host("b")
    kept, never_up = received(tmp_path / "a"), received(tmp_path / "a", b"not confirmed")
    a.received.upload(kept)
    page = copies_folder(tmp_path / "b") / "built" / "display" / "x.slices"
    page.parent.mkdir(parents=True)
    page.write_bytes(b"slices")
    b.publish(page)
    b.received.fetch([kept])
    b.built.keep(DATA)
    begun = page.with_name("1-1.tmp")
    begun.write_bytes(b"half")
    assert a.trim(set) == b.trim(set) == 0
    for file in (*tmp_path.rglob("*.dcm"), page, begun):
        os.utime(file, (1e9, 1e9))
    assert b.trim(lambda _: set()) >= 3
    assert not [f for f in copies_folder(tmp_path / "b").rglob("*") if f.is_file()]
    assert a.trim(lambda digests: {kept}.intersection(digests)) >= 1
    assert list(Archive(tmp_path / "a").digests()) == [never_up]
    b.refresh(page)
    assert page.read_bytes() == b"slices", "what is wanted again comes again"
    assert b.received.read(kept) == b.built.read(kept) == DATA


def test_copy_in_use_stays(shared_host, tmp_path):
    a = shared_host("a")
    received(tmp_path / "a")
    os.utime(Archive(tmp_path / "a").path(DIGEST), (1e9, 1e9))
    a._cache_bytes = 0  # noqa: SLF001
    a.received.path(DIGEST)
    assert a.trim(set) == 0
    assert Archive(tmp_path / "a").received_at(DIGEST).year == 2001, "a re-index still learns when it came"


def test_objects_are_what_every_fsspec_program_sees(object_store, tmp_path):
    url = object_store.place()
    blobs = open_blobs(settings(tmp_path, url, object_store.credentials))
    blobs.built.keep(DATA)
    keys = dict(line.split(" = ") for line in object_store.credentials.read_text().splitlines())
    obstore.fsspec.register("s3")
    other = fsspec.filesystem(
        "s3",
        config={**keys, "endpoint": object_store.endpoint, "region": "us-east-1"},
        client_options={"allow_http": True},
    )
    assert other.cat_file(f"{url.partition('?')[0]}/built/blobs/{DIGEST[:2]}/{DIGEST}.dcm") == DATA


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("bucket/prefix", "not of the form"),
        ("file://host/path", "shared folder is written"),
        ("file:relative", "shared folder is written"),
        ("gopher://bucket/x", "store.blob_url"),
        ("s3://bucket/x?no_such_option=1", "store.blob_url"),
    ],
)
def test_url_that_names_no_store_is_an_error_of_the_configuration(tmp_path, url, words):
    with pytest.raises(ConfigError, match=words):
        open_blobs(settings(tmp_path, url))


@pytest.mark.parametrize("query", ["secret_access_key=x", "access_key_id=x", "session_token=x"])
def test_secret_in_the_url_is_refused(tmp_path, query):
    with pytest.raises(ValueError, match="blob_credentials_file"):
        settings(tmp_path, f"s3://bucket/x?{query}")


def test_data_folder_needs_no_library_of_object_stores():
    program = (
        "import sys; from triage_node.blobs.opened import open_blobs; from triage_node.config.schema import StoreSettings;"
        "open_blobs(StoreSettings()); print([m for m in ('obstore', 'fsspec', 'triage_node.blobs.shared') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
