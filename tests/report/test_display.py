"""The file that a page draws slices from: what goes in comes out, and nothing else is taken for one."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.analysed import Painted
from triage_node.domain.errors import StoreError
from triage_node.domain.finding import BundleIdentity
from triage_node.domain.volume import Volume
from triage_node.report import display

UID = "1.2.840.99.1"
PAINTED = Painted(BundleIdentity("painted", "1", "d" * 64, "none"))


@pytest.fixture
def volume() -> Volume:
    n, rows, columns = 5, 12, 18
    hu = np.random.default_rng(7).integers(-1500, 4000, (n, rows, columns)).astype(np.int16)
    return Volume(
        hu=hu,
        origins_mm=np.stack([np.zeros(n), np.zeros(n), np.array([0.0, 4.0, 8.0, 9.1, 16.0])], axis=1),
        row_cosine=np.array([1.0, 0.0, 0.0]),
        column_cosine=np.array([0.0, 1.0, 0.0]),
        pixel_spacing_mm=(0.5, 0.6),
        slice_extent_mm=np.full(n, 4.0),
        slice_thickness_mm=np.full(n, 5.0),
        frame_of_reference_uid="1.2",
        study_instance_uid=UID,
        series_instance_uid="1.2.3",
        sop_instance_uids=tuple(str(i) for i in range(n)),
    )


def test_every_slice_comes_back_with_its_hu_place_and_marks(tmp_path, volume):
    path = display.path_of(tmp_path, UID)
    found = PAINTED.detect(volume)
    display.write(path, volume, found, 3)
    held = display.read(path)
    assert held is not None
    assert (held.revision, held.frame.slices, held.frame.positions_mm) == (3, 5, (0.0, 4.0, 8.0, 9.1, 16.0))
    assert (held.frame.rows, held.frame.columns, held.frame.pixel_spacing_mm) == (12, 18, (0.5, 0.6))
    for i in range(5):
        piece = display.pixels_of(path, held.digest, i)
        assert (display.unpacked(piece, 12, 18) == np.clip(volume.hu[i], -1024, 3071)).all()
    assert held.with_findings == (2,)
    assert display.findings_of(path, held.digest, 0) == b""
    planes = zlib.decompress(display.findings_of(path, held.digest, 2))
    assert planes == found.mask[2].tobytes() + found.heat[2].tobytes()


def test_the_digest_names_pixels_only_so_it_betrays_no_finding(tmp_path, volume):
    digests = set()
    for detection, revision in ((None, 0), (PAINTED.detect(volume), 1)):
        display.write(display.path_of(tmp_path, UID), volume, detection, revision)
        digests.add(display.read(display.path_of(tmp_path, UID)).digest)
    assert len(digests) == 1
    other = replace(volume, hu=volume.hu + np.int16(1))
    display.write(display.path_of(tmp_path, UID), other, None, 0)
    (before,) = digests
    assert display.pixels_of(display.path_of(tmp_path, UID), before, 0) is None, "never a slice of another volume"


@pytest.mark.parametrize("index", [-1, 5, 10**9])
def test_there_is_no_slice_beyond_the_ends(tmp_path, volume, index):
    path = display.path_of(tmp_path, UID)
    display.write(path, volume, None, 0)
    assert display.pixels_of(path, display.read(path).digest, index) is None


def test_a_uid_that_is_none_becomes_no_path(tmp_path):
    with pytest.raises(StoreError):
        display.path_of(tmp_path, "../../etc/passwd")


def _with_header(header: object) -> bytes:
    text = json.dumps(header).encode()
    return b"TRIAGE SLICES 1\n" + struct.pack("<I", len(text)) + text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"TRIAGE SLICES 1\n",
        b"TRIAGE SLICES 1\n\xff\xff\xff\xff",
        _with_header([]),
        _with_header({"frame": {"rows": 1}}),
        _with_header({"revision": 1, "digest": "a", "frame": {}, "pixels": [-4], "findings": []}),
    ],
)
def test_what_is_no_such_file_shows_nothing(tmp_path: Path, data: bytes):
    path = tmp_path / "broken"
    path.write_bytes(data)
    assert display.read(path) is None
    assert display.pixels_of(path, "a", 0) is None


def test_a_file_that_was_cut_off_shows_nothing(tmp_path, volume):
    path = display.path_of(tmp_path, UID)
    display.write(path, volume, None, 0)
    path.write_bytes(path.read_bytes()[:-1])
    assert display.read(path) is None
