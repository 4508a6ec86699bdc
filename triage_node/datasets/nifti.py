"""NIfTI volumes and masks in the project's axes: slices from the lowest up, rows from front to back, columns from the
patient's right to left (LPS). Data sets store them in every order; the affine says which.
"""

from __future__ import annotations

import gzip
from collections.abc import Collection
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from triage_node.domain.case import HeadVolume
from triage_node.domain.errors import CaseUnreadable

SUFFIXES = (".nii", ".nii.gz")
MAXIMUM_VOXELS = 1 << 28
SAME_AFFINE_MM = 0.1
OFFSET_HU = 1024


def check(path: Path) -> tuple[int, ...]:
    """Shape (slice, row, column) from the header alone; a file cut short is found when it is read. Raises CaseUnreadable."""
    return tuple(int(n) for n in _axes(_opened(path), path)[1])


def read(path: Path, skull_stripped: bool = False) -> HeadVolume:
    """The volume in HU. Values that are no numbers become air. Raises CaseUnreadable."""
    values, affine = _oriented(path)
    hu = np.nan_to_num(values, nan=-1024.0, posinf=3071.0, neginf=-1024.0)
    if hu.max() == hu.min():
        raise CaseUnreadable("no image content: all voxels are the same")
    if not skull_stripped and (fault := _doubt(hu)):
        raise CaseUnreadable(fault)
    column, row, step = (float(v) for v in np.linalg.norm(affine[:3, :3], axis=0))
    n = hu.shape[0]
    whole = np.array_equal(hu, np.rint(hu)) and -32768 <= hu.min() and hu.max() <= 32767
    return HeadVolume(
        is_hu=True,
        hu=hu.astype(np.int16 if whole else np.float32),
        # the step along the normal, so that a sheared affine (gantry tilt) is not counted as a longer scan
        pixel_spacing_mm=(row, column),
        positions_mm=np.arange(n, dtype=np.float64) * _normal_step(affine, step),
        thickness_mm=np.full(n, _normal_step(affine, step)),
    )


def read_mask(path: Path, like: Path, values: Collection[int]) -> tuple[NDArray[np.uint8], ...]:
    """The mask of a volume, slice by slice in the volume's order.

    Raises CaseUnreadable when size or affine differ from the volume's, or when a value means nothing.
    """
    mask, affine = _oriented(path)
    their_affine, their_shape = _axes(_opened(like), like)
    if mask.shape != tuple(their_shape):
        raise CaseUnreadable(f"{path.name}: {mask.shape} voxels, its volume has {tuple(their_shape)}")
    corner = np.array([*(n - 1 for n in mask.shape[::-1]), 1.0])
    for voxel in (np.array([0.0, 0.0, 0.0, 1.0]), corner):
        apart = float(np.linalg.norm(affine @ voxel - their_affine @ voxel))
        if apart > SAME_AFFINE_MM * max(mask.shape):
            raise CaseUnreadable(f"{path.name}: lies {apart:.0f} mm apart from its volume")
    there = {float(v) for v in np.unique(mask)}
    if strange := sorted(there - {0.0, *(float(v) for v in values)}):
        raise CaseUnreadable(
            f"{path.name}: value {strange[0]:g} means nothing; expected 0, {', '.join(map(str, sorted(values)))}"
        )
    return tuple(mask.astype(np.uint8))


def _opened(path: Path) -> Any:
    try:
        image = nibabel.load(path) if path.name.casefold().endswith(SUFFIXES) else _without_suffix(path)
        shape = image.shape
    except Exception as error:
        raise CaseUnreadable(
            f"not a NIfTI file that can be read ({type(error).__name__}: {str(error)[:80]})"
        ) from error
    if len(shape) == 4 and shape[3] == 1:
        image = image.slicer[..., 0]
    if len(image.shape) != 3 or min(image.shape) < 1 or int(np.prod(image.shape, dtype=np.int64)) > MAXIMUM_VOXELS:
        raise CaseUnreadable(f"{' x '.join(map(str, shape))} voxels are no head volume")
    return image


def _without_suffix(path: Path) -> Any:
    """Files of BHSD that lost their ending; nibabel goes by it."""
    data = path.read_bytes()
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)


def stored_slices(path: Path) -> list[int]:
    """For each slice, from the lowest up, its index along the third axis of the file (tables count in the file's order).

    Raises CaseUnreadable when the file does not store axial slices.
    """
    image = _opened(path)
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(("L", "P", "S")))
    if int(turn[2, 0]) != 2:
        raise CaseUnreadable(f"{path.name}: the third axis of the file does not run from foot to head")
    return list(range(image.shape[2]))[:: int(turn[2, 1])]


def _axes(image: Any, path: Path) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """Affine from (column, row, slice, 1) to RAS mm in the project's order, and shape (slice, row, column)."""
    affine = np.asarray(image.affine, np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise CaseUnreadable(f"{path.name}: the affine is not one")
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(("L", "P", "S")))
    shape = [0, 0, 0]
    for axis, (target, _) in enumerate(turn):
        shape[int(target)] = image.shape[axis]
    return affine @ inv_ornt_aff(turn, image.shape), tuple(shape[::-1])


def _oriented(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    image = _opened(path)
    affine, _ = _axes(image, path)
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(("L", "P", "S")))
    try:
        values = np.asarray(image.dataobj, np.float32)
    except Exception as error:
        raise CaseUnreadable(f"voxels cannot be read ({type(error).__name__}: {str(error)[:80]})") from error
    return np.ascontiguousarray(apply_orientation(values, turn).transpose(2, 1, 0)), affine


def _normal_step(affine: NDArray[np.float64], step: float) -> float:
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    return abs(float(affine[:3, 2] @ normal / np.linalg.norm(normal))) or step


def _doubt(hu: NDArray[np.float32]) -> str:
    """The mistakes that happen: an offset of 1024 left in, and 8-bit grey levels in a NIfTI file (PAPERS.md 7.10)."""
    sample = hu[:, ::4, ::4]
    # bone of that density fills less of a head
    if hu.min() > -500 and ((sample > OFFSET_HU) & (sample < OFFSET_HU + 80)).mean() > 0.05:
        return "voxels are not Hounsfield units: soft tissue lies about 1000 too high"
    if hu.min() >= 0 and 200 < hu.max() <= 255:
        return "voxels are 8-bit grey levels, not Hounsfield units"
    return ""
