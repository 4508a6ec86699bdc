"""The conformance gate of STANDARDS.md 2.8.6: programs that others wrote judge our files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from triage_node.report.request import BuiltFile

KNOWN_ARTEFACT = "Different information entities for attribute - Element=<AccessionNumber> IE"
SR_CLASSES = {"1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.59"}


def _tool(name: str) -> str:
    beside_python = Path(sys.executable).parent / name
    found = str(beside_python) if beside_python.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def _run(*command: str | Path) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode >= 0, f"{command[0]} was killed by signal {-done.returncode}"
    return done.stdout + done.stderr


def written(files: tuple[BuiltFile, ...], folder: Path) -> list[Path]:
    paths = []
    for i, f in enumerate(files):
        path = folder / f"{i:03d}_{f.built.kind}.dcm"
        path.write_bytes(f.data)
        paths.append(path)
    return paths


def dciodvfy(path: Path) -> list[str]:
    """Errors and warnings about one file."""
    said = _run(_tool("dciodvfy"), "-new", path)
    return [line for line in said.splitlines() if line.startswith(("Error", "Warning"))]


def dcentvfy(paths: list[Path]) -> list[str]:
    """Contradictions between files, without the known artefact."""
    said = _run(_tool("dcentvfy"), *paths)
    return [s for s in said.splitlines() if s.startswith(("Error", "Warning")) and KNOWN_ARTEFACT not in s]


def dsrdump(path: Path) -> str:
    """The report as DCMTK's parser reads it. Fails the test when it does not."""
    done = subprocess.run([_tool("dsrdump"), str(path)], capture_output=True, text=True, errors="replace", timeout=60)
    assert done.returncode == 0, done.stderr
    assert "E:" not in done.stderr
    return done.stdout


def dcmqi_segments(path: Path, folder: Path) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Each segment as (mask in slice-row-column order, origin in LPS mm, millilitres of one voxel), by dcmqi's reader."""
    folder.mkdir()
    said = _run(_tool("segimage2itkimage"), "--inputDICOM", path, "--outputDirectory", folder, "-p", "s", "-t", "nrrd")
    found = [_nrrd(p) for p in sorted(folder.glob("s-*.nrrd"), key=lambda p: int(p.stem.split("-")[1]))]
    assert found, said
    return found


def dcmqi_report(path: Path, folder: Path) -> dict:
    """The volume measurements of a TID 1500 report, by dcmqi's reader."""
    out = folder / "report.json"
    said = _run(_tool("tid1500reader"), "--inputDICOM", path, "--outputMetadata", out)
    assert out.exists(), said
    return json.loads(out.read_text())


def _nrrd(path: Path) -> tuple[np.ndarray, np.ndarray, float]:
    import gzip

    header, _, body = path.read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in header.decode().splitlines()[1:] if ": " in line)
    raw = gzip.decompress(body) if fields["encoding"] == "gzip" else body
    sizes = [int(s) for s in fields["sizes"].split()]
    kind = {"unsigned char": np.uint8, "short": np.int16, "unsigned short": np.uint16, "int": np.int32}[fields["type"]]
    mask = np.frombuffer(raw, kind).reshape(sizes[::-1])
    vectors = np.array([[float(x) for x in v.strip("()").split(",")] for v in fields["space directions"].split()])
    origin = np.array([float(x) for x in fields["space origin"].strip("()").split(",")])
    assert "left-posterior-superior" in fields["space"]
    return mask, origin, float(abs(np.linalg.det(vectors))) / 1000


def with_pixels(headers: tuple[Dataset, ...], folder: Path) -> list[Path]:
    """The source images as files, so that dcentvfy finds what our objects refer to."""
    folder.mkdir()
    paths = []
    for i, ds in enumerate(headers):
        ds.PixelData = b"\0" * (int(ds.Rows) * int(ds.Columns) * 2)
        ds["PixelData"].VR = "OW"
        paths.append(folder / f"{i:03d}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
        del ds.PixelData
    return paths
