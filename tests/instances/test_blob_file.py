from __future__ import annotations

import hashlib
import os
import threading

import pytest

from triage_node.instances import blob_file
from triage_node.instances.archive import Archive
from triage_node.instances.blob_file import BUFFER_BYTES, BlobFile, Buffers, direct_writes_work


@pytest.fixture
def archive(tmp_path):
    archive = Archive(tmp_path)
    archive.prepare()
    yield archive
    archive.close()


def leftovers(archive: Archive) -> list:
    return [p for p in archive.blobs.rglob("*") if p.is_file() and p.suffix != ".dcm"]


def put(archive: Archive, data: bytes, direct: bool, head: bytes = b"", buffers: Buffers | None = None) -> BlobFile:
    file = BlobFile(archive, buffers or Buffers(), direct, head)
    position = 0
    while position < len(data):
        room = file.room(len(data) - position)
        room[:] = data[position : position + len(room)]
        file.filled(len(room))
        position += len(room)
    return file


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "plain"])
@pytest.mark.parametrize(
    "size",
    [0, 1, 4095, 4096, 4097, 526_000, BUFFER_BYTES - 3, BUFFER_BYTES, BUFFER_BYTES + 1, 3 * BUFFER_BYTES, 9_999_999],
)
def test_bytes_on_disk_are_the_bytes_that_came(archive, size, direct):
    data = os.urandom(size)
    file = put(archive, data, direct, b"HEAD")
    assert file.size_bytes == size + 4
    sha256, new = file.commit()
    assert (sha256, new) == (hashlib.sha256(b"HEAD" + data).hexdigest(), True)
    assert archive.read(sha256) == b"HEAD" + data
    assert archive.verify(sha256)
    assert leftovers(archive) == []


@pytest.mark.parametrize("size", [1000, 5_000_000])
def test_same_bytes_again_make_no_second_file(archive, size):
    data = os.urandom(size)
    first = put(archive, data, True).commit()
    path = archive.path(first[0])
    again = put(archive, data, True)
    again.complete(len)
    assert again.is_known()
    assert again.commit() == (first[0], False)
    assert path.read_bytes() == data
    assert [p for p in archive.blobs.rglob("*.dcm")] == [path]
    assert leftovers(archive) == []


@pytest.mark.parametrize("size", [1000, 5_000_000])
def test_discarded_file_leaves_nothing(archive, size):
    file = put(archive, os.urandom(size), True)
    file.discard()
    file.discard()
    assert leftovers(archive) == []
    assert list(archive.digests()) == []


@pytest.mark.parametrize("size", [1000, 5_000_001])
def test_view_before_commit_shows_everything(archive, size):
    data = os.urandom(size)
    file = put(archive, data, True)
    assert file.complete(bytes) == data
    sha256, _ = file.commit()
    assert archive.read(sha256) == data


@pytest.mark.parametrize("others", [0, 1], ids=["alone", "beside another"])
@pytest.mark.parametrize("size", [1000, 5_000_001])
def test_what_the_look_raises_comes_through_and_leaves_nothing(archive, size, others):
    buffers = Buffers()
    beside = [put(archive, b"C" * 10, True, buffers=buffers) for _ in range(others)]
    file = put(archive, os.urandom(size), True, buffers=buffers)

    def look(content: object) -> None:
        raise ValueError(f"{len(content)} bytes seen")

    with pytest.raises(ValueError, match=f"^{size} bytes seen"):
        file.complete(look)
    file.discard()
    assert [b.commit()[1] for b in beside] == [True] * others
    assert leftovers(archive) == []
    assert buffers.lent == 0


@pytest.mark.parametrize("size", [526_000, 5_000_001])
def test_files_that_arrive_side_by_side_are_whole(archive, size):
    """The first is hashed by its own thread, the second, alone by then, by another."""
    buffers, data = Buffers(), [os.urandom(size) for _ in range(2)]
    first, second = (put(archive, d, True, buffers=buffers) for d in data)
    assert [first.commit()[0], second.commit()[0]] == [hashlib.sha256(d).hexdigest() for d in data]
    assert [archive.read(hashlib.sha256(d).hexdigest()) for d in data] == data


def test_buffer_is_used_again_and_never_shows_what_was_in_it(archive):
    buffers = Buffers()
    put(archive, b"A" * 9000, True, buffers=buffers).commit()
    buffer = buffers.take()
    buffers.give_back(buffer)
    sha256, _ = put(archive, b"B" * 10, True, buffers=buffers).commit()
    assert archive.read(sha256) == b"B" * 10
    assert buffers.take() is buffer


def test_two_threads_with_the_same_bytes_end_with_one_file(archive):
    data, done = os.urandom(600_000), []
    ready = threading.Barrier(4)

    def store() -> None:
        file = put(archive, data, True)
        ready.wait(30)
        done.append(file.commit()[0])

    threads = [threading.Thread(target=store) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(30)
    assert len(set(done)) == 1
    assert len(done) == 4
    assert archive.read(done[0]) == data
    assert leftovers(archive) == []


def test_disk_that_takes_no_more_is_an_error_and_leaves_nothing(archive, monkeypatch):
    """ENOSPC in the middle of a long file."""
    file = put(archive, os.urandom(BUFFER_BYTES), True)

    class Full:
        def __getattr__(self, name):
            return getattr(os, name)

        def pwrite(self, *_):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(blob_file, "os", Full())
    with pytest.raises(OSError, match="No space"):
        file.room(10)
    file.discard()
    assert leftovers(archive) == []


def test_probe_of_direct_writes_leaves_nothing(archive):
    assert direct_writes_work(archive.blobs) in (True, False)
    assert leftovers(archive) == []


def test_bytes_that_come_again_mend_a_file_that_was_damaged(archive):
    data = bytes(range(256)) * 40
    first = put(archive, data, True)
    first.complete(len)
    sha256, _ = first.commit()
    archive.path(sha256).write_bytes(data[:-20])
    again = put(archive, data, True)
    again.complete(len)
    assert again.commit() == (sha256, False)
    assert archive.path(sha256).read_bytes() == data
