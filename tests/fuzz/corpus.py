"""DICOM files to begin with: pydicom's own, those of `pydicom-data`, and what DCMTK's tools write of them anew."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import data_store
import pydicom.data

PYDICOM = Path(pydicom.data.__file__).parent
PYDICOM_DATA = Path(data_store.__file__).parent / "data"
"""What lies in the package itself; the larger files that it would download are not there."""
_DCMTK = (
    ("dcmconv", "+ti"),
    ("dcmconv", "+te", "-e"),
    ("dcmconv", "+tb"),
    ("dcmconv", "+td"),
    ("dcmconv", "+te", "+e"),
    ("dcmcrle",),
    ("dcmcjpeg", "+e1"),
    ("dcmcjpeg", "+eb"),
    ("dcmcjpls", "+el"),
    ("dcmcjpls", "+en"),
)
"""Each transfer syntax that DCMTK writes: implicit, with and without lengths, big endian, deflated, RLE, JPEG, JPEG-LS."""
_WRITTEN_OF = ("CT_small.dcm", "MR_small.dcm", "nested_priv_SQ.dcm", "reportsi.dcm", "test-SR.dcm")


def pydicom_files() -> list[Path]:
    """Everything in pydicom's package that is no program: images, reports, broken ones, character sets, DICOMDIRs."""
    return sorted(p for p in PYDICOM.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc"))


def pydicom_data_files() -> list[Path]:
    return sorted(p for p in PYDICOM_DATA.rglob("*") if p.is_file())


def dcmtk_files(folder: Path) -> list[Path]:
    """Small files of pydicom as each of DCMTK's tools writes them into `folder`; fewer where a tool refuses one."""
    written = []
    for number, (program, *options) in enumerate(_DCMTK):
        for name in _WRITTEN_OF:
            source = next(PYDICOM.rglob(name), None)
            if source is None or shutil.which(program) is None:
                continue
            target = folder / f"{number}-{program}-{name}"
            done = subprocess.run([program, *options, str(source), str(target)], capture_output=True, timeout=60)
            if done.returncode == 0:
                written.append(target)
    return written


def small(most_bytes: int) -> Iterator[bytes]:
    """Contents of every file of both collections that is not longer, and of what DCMTK writes of them."""
    for path in (*pydicom_files(), *pydicom_data_files()):
        if path.stat().st_size <= most_bytes:
            yield path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        for path in dcmtk_files(Path(folder)):
            if path.stat().st_size <= most_bytes:
                yield path.read_bytes()
