import pytest

from triage_node.domain.errors import StoreError
from triage_node.instances.archive import Archive

DIGEST = "ab" * 32


def test_blob_lies_under_its_digest(tmp_path):
    assert Archive(tmp_path).path(DIGEST) == tmp_path / "blobs" / "ab" / f"{DIGEST}.dcm"


@pytest.mark.parametrize("name", ["", "..", "../../etc/passwd", "AB" * 32, DIGEST + "\n", DIGEST[:-1], DIGEST + "/x"])
def test_what_is_no_digest_is_never_a_path(tmp_path, name):
    with pytest.raises(StoreError):
        Archive(tmp_path).path(name)


def test_blob_that_is_not_there_is_an_error_to_read_and_nothing_to_remove(tmp_path):
    archive = Archive(tmp_path)
    archive.remove(DIGEST)
    assert list(archive.digests()) == []
    with pytest.raises(StoreError):
        archive.read(DIGEST)


def test_start_removes_what_was_being_written_and_nothing_else(tmp_path):
    archive = Archive(tmp_path)
    archive.prepare()
    archive.path(DIGEST).write_bytes(b"kept")
    for name in ("1-2.tmp", "receiving-5-x.dcm", "ab/9-9.tmp"):
        (archive.blobs / name).write_bytes(b"half")
    assert archive.prepare() == 3
    assert list(archive.digests()) == [DIGEST]
    assert archive.read(DIGEST) == b"kept"
    assert not archive.verify(DIGEST)
    archive.remove(DIGEST)
    assert list(archive.digests()) == []
