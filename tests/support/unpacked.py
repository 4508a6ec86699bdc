"""The real DICOM of the shared data, unpacked once a test run into a folder of its own."""

from __future__ import annotations

import atexit
import shutil
import tarfile
import tempfile
from functools import cache
from pathlib import Path

from tests.support.data import shared_data


@cache
def unpacked(archive: str) -> Path:
    """The folder in which this archive of the shared data lies open, e.g. `ge_head/ge_head.tar.xz`."""
    folder = Path(tempfile.mkdtemp(prefix="triage-node-ct-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with tarfile.open(shared_data() / archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


def ge_head() -> list[Path]:
    """28 slices of one patient, tilted, with three slice steps."""
    return _files(unpacked("ge_head/ge_head.tar.xz") / "ge_head")


def geometry_trap(name: str) -> list[Path]:
    """Four slices with bad geometry: sliceincrement_001 and _002, gantrytilting_001, notavolume_001."""
    return _files(unpacked("geometry_traps/geometry_traps.tar.xz") / "geometry_traps" / name)


def philips(series: str) -> list[Path]:
    """A series of the plastic head: A100, A201, A202 (JPEG-LS), A203 (no pixels), A401, B100, B201, B301 (no pixels), B401."""
    archive = {"A202": "thin_1mm_jpegls.tar"}.get(
        series, "headers_zeroed_pixels.tar.xz" if series in ("A203", "B201", "B301") else "original_pixels.tar.xz"
    )
    folder = unpacked(f"philips_phantom/{archive}")
    (found,) = folder.glob(f"philips_phantom/exam_{series[0]}*/s{series[1:]}_*")
    return _files(found)


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file())
