"""A store that is missing, refuses, is down, hangs or lies: each says so in words, and mends itself."""

import hashlib
import socket
import threading
from contextlib import contextmanager

import pytest

from tests.blobs.test_shelves import DATA, DIGEST, received
from triage_node.blobs.object_store import HttpStore, SharedFolder, open_object_store
from triage_node.blobs.shared import SharedBlobs
from triage_node.domain.errors import BlobDamaged, BlobMissing, BlobsAway

A_MOMENT_S = 1.0


def blobs_of(tmp_path, url, credentials=None, request_s=30.0, name="a"):
    return SharedBlobs(tmp_path / name, open_object_store(url, credentials, request_s), 1 << 30)


@contextmanager
def mute_server():
    """Accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


class Forgetful(SharedFolder):
    """Loses the end of whatever it is given, and reports success."""

    def put(self, key, source):
        data = source if isinstance(source, bytes) else source.read_bytes()
        super().put(key, data[: len(data) // 2])


def test_missing_bucket_is_told_by_its_name(object_store, tmp_path):
    blobs = blobs_of(tmp_path, object_store.url(bucket="nobody-made-it"), object_store.credentials)
    received(tmp_path / "a")
    assert "there is no bucket 'nobody-made-it'" in blobs.problem()
    for ask in (blobs.received.upload, blobs.received._store.digest, blobs.received._store.stamp):  # noqa: SLF001
        with pytest.raises(BlobsAway, match="no bucket 'nobody-made-it'"):
            ask(DIGEST)
    assert blobs.received.read(DIGEST) == DATA, "the spool still has it"


def test_wrong_credentials_are_told_and_mended_without_a_restart(object_store, tmp_path):
    file = tmp_path / "credentials"
    blobs = blobs_of(tmp_path, object_store.place(), file)
    received(tmp_path / "a")
    assert "cannot be read" in blobs.problem()
    for wrong in (
        "access_key_id = node\nsecret_access_key = guess\n",
        "access_key_id = stranger\nsecret_access_key = x\n",
    ):
        file.write_text(wrong)
        assert "refuses the credentials" in blobs.problem()
        with pytest.raises(BlobsAway, match="blob_credentials_file"):
            blobs.received.upload(DIGEST)
    file.write_text(object_store.credentials.read_text())
    assert blobs.problem() == ""
    blobs.received.upload(DIGEST)
    assert list(blobs.received.digests()) == [DIGEST]


def test_server_that_is_down_loses_nothing_and_is_used_when_it_is_back(tmp_path, own_object_store):
    server = own_object_store
    url = server.place()
    a = blobs_of(tmp_path, url, server.credentials)
    b = blobs_of(tmp_path, url, server.credentials, name="b")
    received(tmp_path / "a")
    kept = a.built.keep(b"kept before")
    server.kill()
    assert "cannot be reached" in a.problem()
    for ask in (a.received.upload, b.received.path, b.received.remove):
        with pytest.raises(BlobsAway, match="cannot be reached"):
            ask(DIGEST)
    with pytest.raises(BlobsAway):
        b.built.keep(b"new")
    assert b.received.has(DIGEST), "away is not gone"
    server.start()
    a.received.upload(DIGEST)
    assert b.received.read(DIGEST) == DATA
    assert b.built.read(kept) == b"kept before"


def test_server_that_does_not_answer_is_given_up(tmp_path):
    with mute_server() as port:
        url = f"s3://bucket/node?endpoint=http://127.0.0.1:{port}&region=us-east-1"
        keys = tmp_path / "keys"
        keys.write_text("access_key_id = a\nsecret_access_key = b\n")
        blobs = blobs_of(tmp_path, url, keys, request_s=A_MOMENT_S)
        assert "did not answer within 1 s" in blobs.problem()


def test_object_that_is_cut_off_is_never_handed_out(shared_store, tmp_path):
    a = SharedBlobs(tmp_path / "a", shared_store, 1 << 30)
    b = SharedBlobs(tmp_path / "b", shared_store, 1 << 30)
    received(tmp_path / "a")
    a.received.upload(DIGEST)
    shared_store.put(f"blobs/{DIGEST[:2]}/{DIGEST}.dcm", DATA[:1000])
    if isinstance(shared_store, HttpStore):
        with pytest.raises(BlobDamaged, match="1000 bytes came"):
            b.received.path(DIGEST)
        assert not list((tmp_path / "b").rglob("*.dcm")), "nothing is left of it here"
    a.received.upload(DIGEST)
    assert b.received.read(DIGEST) == DATA, "whoever has the bytes mends it"


def test_upload_that_the_store_cuts_off_is_not_confirmed(tmp_path):
    (tmp_path / "mount").mkdir()
    blobs = SharedBlobs(tmp_path / "a", Forgetful(tmp_path / "mount"), 1 << 30)
    received(tmp_path / "a")
    with pytest.raises(BlobsAway, match="are not the 768000 sent"):
        blobs.received.upload(DIGEST)
    with pytest.raises(BlobsAway):
        blobs.built.keep(DATA)


def test_shared_folder_that_is_not_mounted_is_no_empty_one(tmp_path):
    blobs = blobs_of(tmp_path, f"file://{tmp_path / 'mount'}")
    received(tmp_path / "a")
    assert "is the file system mounted?" in blobs.problem()
    for ask in (blobs.received.upload, blobs.received._store.stamp):  # noqa: SLF001
        with pytest.raises(BlobsAway, match="mounted"):
            ask(DIGEST)
    assert not (tmp_path / "mount").exists(), "nothing is written beside the mount"
    (tmp_path / "mount").mkdir()
    blobs.received.upload(DIGEST)
    assert list(blobs.received.digests()) == [DIGEST]


def test_many_at_once_are_whole(shared_store, tmp_path):
    a, b = (SharedBlobs(tmp_path / name, shared_store, 1 << 30) for name in "ab")
    held = {hashlib.sha256(data).hexdigest(): data for data in (bytes([n]) * (n * 1000 + 1) for n in range(40))}
    for data in held.values():
        received(tmp_path / "a", data)
    threads = [
        threading.Thread(target=lambda part: [a.received.upload(d) for d in part], args=(list(held)[k::4],))
        for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    b.received.fetch(held)
    assert {d: b.received.read(d) for d in b.received.digests()} == held


def test_nothing_is_known_of_what_is_not_there(shared_store):
    assert shared_store.stamp("blobs/none") is None
    shared_store.remove("blobs/none")
    with pytest.raises(BlobMissing):
        shared_store.digest("blobs/none")
