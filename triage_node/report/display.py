"""What the study page draws: the slices of one study, and what the model marked on them, in files that need no decoder.

One file of pieces a study (report/pieces.py), replaced whole. First the pixels of each slice: in raster order the difference of
each HU to the one before it, zigzag-coded (small numbers of either sign become small numbers), all low bytes before all high
bytes; a head then takes two thirds of what plain 16 bit take. Then mask and heat of each slice, one byte a pixel each. A second
file holds heat maps on coarse grids, one piece a task: they are made later, and not of every study.

The pixels were decoded by the analysis process; whoever reads this needs numpy at most (DESIGN.md section 8).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triage_node.domain.display import Frame, HeatMap
from triage_node.domain.errors import StoreError
from triage_node.domain.finding import Detection
from triage_node.domain.identifiers import is_uid
from triage_node.domain.volume import Volume
from triage_node.report import pieces
from triage_node.report.pieces import Header

LOWEST_HU, HIGHEST_HU = -1024, 3071
_SLICES, _MAPS = b"SLICES", b"MAPS"


@dataclass(frozen=True, slots=True)
class Display:
    """What lies in a file of slices. `revision` of the result whose findings are in it, 0 where the series was not analysed.

    `digest` names the pixels and nothing else. `with_findings`: slices on which mask or heat has anything.
    """

    revision: int
    digest: str
    frame: Frame
    with_findings: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Maps:
    """Heat maps of one result. `silent`: (label, why) of what has none."""

    revision: int
    maps: tuple[HeatMap, ...]
    silent: tuple[tuple[str, str], ...]


def path_of(folder: Path, study_instance_uid: str) -> Path:
    """Where the slices of a study lie under `folder`. Raises: StoreError when that is no UID."""
    if not is_uid(study_instance_uid):
        raise StoreError(f"{study_instance_uid[:80]!r} is no UID")
    name = hashlib.sha256(study_instance_uid.encode()).hexdigest()
    return folder / "display" / name[:2] / f"{name}.slices"


def parts(path: Path) -> tuple[Path, Path]:
    """The files of a study whose slices lie at `path`: slices and maps."""
    return path, _maps_beside(path)


def write(path: Path, volume: Volume, detection: Detection | None, revision: int) -> None:
    """Put the slices of a volume in place of what was there. Raises: OSError."""
    named = hashlib.sha256()
    pixels, findings = [], []
    for i, image in enumerate(volume.hu):
        packed = pieces.packed(_packed(image))
        named.update(packed)
        pixels.append(packed)
        seen = detection is not None and (detection.mask[i].any() or detection.heat[i].any())
        planes = detection.mask[i].tobytes() + detection.heat[i].tobytes() if detection is not None and seen else b""
        findings.append(pieces.packed(planes))
    frame = _frame(volume)
    header = {"revision": revision, "digest": named.hexdigest()[:32], "frame": asdict(frame)}
    pieces.write(path, _SLICES, header, [*pixels, *findings])


def read(path: Path) -> Display | None:
    """What a study's file holds, None where there is none or where it is broken: then there is nothing to show."""
    return pieces.read(path, _SLICES, _display)


def pixels_of(path: Path, digest: str, index: int) -> bytes | None:
    """The compressed pixels of one slice; None where the file is gone or shows other pixels by now, or has no such slice."""
    return pieces.piece(path, _SLICES, lambda h: index if _has(h, digest, index) else None)


def findings_of(path: Path, digest: str, index: int) -> bytes | None:
    """Compressed mask and heat of one slice, empty where nothing was found on it. None: as `pixels_of`."""
    return pieces.piece(path, _SLICES, lambda h: len(h["pieces"]) // 2 + index if _has(h, digest, index) else None)


def write_maps(
    path: Path,
    revision: int,
    maps: Sequence[tuple[HeatMap, NDArray[np.uint8]]],
    silent: Sequence[tuple[str, str]],
) -> None:
    """Put maps beside the slices at `path`. Shape: each as HeatMap.shape says. Raises: OSError."""
    header = {"revision": revision, "maps": [asdict(m) for m, _ in maps], "silent": [list(s) for s in silent]}
    pieces.write(_maps_beside(path), _MAPS, header, [pieces.packed(values.tobytes()) for _, values in maps])


def read_maps(path: Path) -> Maps | None:
    """The maps beside the slices at `path`, None where there are none."""
    return pieces.read(_maps_beside(path), _MAPS, _maps)


def map_of(path: Path, revision: int, index: int) -> bytes | None:
    """One compressed map by its place in `Maps.maps`; None where there is none of this result."""
    return pieces.piece(
        _maps_beside(path),
        _MAPS,
        lambda h: index if h["revision"] == revision and 0 <= index < len(h["maps"]) else None,
    )


def unpacked(piece: bytes, rows: int, columns: int) -> NDArray[np.int16]:
    """A slice as the browser unpacks it. Shape: (row, column) HU. Raises: ValueError, zlib.error for anything else."""
    low, high = np.frombuffer(zlib.decompress(piece), np.uint8).reshape(2, rows * columns).astype(np.uint16)
    coded = low | (high << 8)
    steps = (coded >> 1).astype(np.int16) ^ -(coded & 1).astype(np.int16)
    return np.cumsum(steps, dtype=np.int16).reshape(rows, columns)


def _packed(image: NDArray[np.int16]) -> bytes:
    hu = np.clip(image, LOWEST_HU, HIGHEST_HU).ravel()
    steps = np.diff(hu, prepend=np.int16(0))
    coded = ((steps << 1) ^ (steps >> 15)).astype("<u2")
    return coded.view(np.uint8).reshape(-1, 2).T.tobytes()


def _maps_beside(path: Path) -> Path:
    return path.with_name(path.stem + "-maps.slices")


def _has(header: Header, digest: str, index: int) -> bool:
    return header["digest"] == digest and 0 <= index < len(header["pieces"]) // 2


def _frame(volume: Volume) -> Frame:
    def three(v: NDArray[np.float64]) -> tuple[float, float, float]:
        return float(v[0]), float(v[1]), float(v[2])

    return Frame(
        rows=int(volume.hu.shape[1]),
        columns=int(volume.hu.shape[2]),
        pixel_spacing_mm=(float(volume.pixel_spacing_mm[0]), float(volume.pixel_spacing_mm[1])),
        row_cosine=three(volume.row_cosine),
        column_cosine=three(volume.column_cosine),
        positions_mm=tuple(round(float(p), 3) for p in volume.positions_mm),
        thickness_mm=tuple(round(float(t), 3) for t in volume.slice_thickness_mm),
    )


def _display(header: Header) -> Display:
    frame = Frame(**_tuples(header["frame"], Frame))
    lengths = header["pieces"]
    if len(lengths) != 2 * frame.slices:
        raise ValueError("not two pieces a slice")
    marked = lengths[frame.slices :]
    return Display(
        revision=int(header["revision"]),
        digest=str(header["digest"]),
        frame=frame,
        with_findings=tuple(i for i, n in enumerate(marked) if n),
    )


def _maps(header: Header) -> Maps:
    maps = tuple(HeatMap(**_tuples(m, HeatMap)) for m in header["maps"])
    if len(maps) != len(header["pieces"]):
        raise ValueError("not one piece a map")
    silent = tuple((str(label), str(why)) for label, why in header["silent"])
    return Maps(int(header["revision"]), maps, silent)


def _tuples(stored: dict[str, Any], kind: type[Frame] | type[HeatMap]) -> dict[str, Any]:
    return {f.name: tuple(v) if isinstance(v := stored[f.name], list) else v for f in fields(kind)}
