"""Stack the decoded images of one series into a Volume in Hounsfield units with true geometry.

Slices are ordered by the projection of Image Position (Patient) on the normal, never by Instance Number or Slice Location;
distances are those of positions, never Slice Thickness or Spacing Between Slices (STANDARDS.md section 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triage_node.domain import geometry
from triage_node.domain.errors import DuplicatePositions, MissingSlices, MixedOrientation, NotHounsfield, VolumeError
from triage_node.domain.volume import Volume
from triage_node.volume.series_pixels import SeriesPixels, SliceHeader

AIR_HU = -1024
HIGHEST_HU = 3071
SAME_ORIENTATION_DEG = 0.5
FURTHEST_MM = 1e5
PADDING_IS_BELOW_HU = -500
"""A padding value that would be tissue is not believed: wiping every pixel of 0 HU would punch holes into a brain."""


def assemble_volume(series: SeriesPixels) -> Volume:
    """Return the series as a Volume; `notes` says in words what was repaired or left out.

    Shape: hu (slice, row, column), int16, slice 0 lowest along the normal. Units: HU after rescale, padding -1024, clipped to
    [-1024, 3071]. Identical images that came twice under other UIDs are used once.
    Raises: MissingSlices, DuplicatePositions, MixedOrientation, NotHounsfield, VolumeError.
    Source: PS3.3 C.7.6.2.1.1, C.11.1.1.2 (rescale), C.7.5.1.1.2 (padding).
    """
    planes = _planes(series)
    notes: list[str] = []
    if series.left_out:
        notes.append(f"{_count(len(series.left_out), 'localizer image')} left out")
    order = _in_order(planes, series, notes)
    slices = [series.slices[i] for i in order]
    positions = planes.positions_mm[order]
    thickness = [s.slice_thickness_mm for s in slices]
    if gaps := geometry.find_gaps(positions, thickness):
        raise MissingSlices(_gap_words(gaps))
    if planes.normal[2] < 0:
        notes.append("image planes seen from above")
    hu = np.empty((len(order), *series.words.shape[1:]), dtype=np.int16)
    ignored_padding = False
    for target, source in zip(hu, order, strict=True):
        ignored_padding |= _to_hounsfield(series.words[source], series.slices[source], target)
    if ignored_padding:
        notes.append("padding value ignored: it would be tissue")
    lossy = any(s.lossy for s in slices)
    if lossy:
        notes.append("lossy compressed input")
    return Volume(
        hu=hu,
        origins_mm=planes.origins_mm[order],
        row_cosine=planes.row_cosine,
        column_cosine=planes.column_cosine,
        pixel_spacing_mm=planes.pixel_spacing_mm,
        slice_extent_mm=geometry.slice_extents(positions, thickness),
        slice_thickness_mm=geometry.thickness_or_step(positions, thickness),
        frame_of_reference_uid=slices[0].frame_of_reference_uid,
        study_instance_uid=slices[0].study_instance_uid,
        series_instance_uid=slices[0].series_instance_uid,
        sop_instance_uids=tuple(s.sop_instance_uid for s in slices),
        frame_numbers=tuple(s.frame_number for s in slices) if any(s.frame_number for s in slices) else (),
        lossy=lossy,
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class _Planes:
    """The common orientation of all slices and where each lies, in the order in which they came."""

    row_cosine: geometry.Floats
    column_cosine: geometry.Floats
    normal: geometry.Floats
    origins_mm: geometry.Floats
    positions_mm: geometry.Floats
    pixel_spacing_mm: tuple[float, float]


def _planes(series: SeriesPixels) -> _Planes:
    slices = series.slices
    if not slices:
        raise VolumeError("the series holds no images")
    row, column = _cosines(slices[0])
    for s in slices[1:]:
        other_row, other_column = _cosines(s)
        turn = max(geometry.angle_deg(row, other_row), geometry.angle_deg(column, other_column))
        if turn > SAME_ORIENTATION_DEG:
            raise MixedOrientation(f"images of one series are turned against each other by {turn:.1f} degrees")
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    origins = np.array([s.image_position_patient for s in slices], dtype=np.float64)
    return _Planes(row, column, normal, origins, origins @ normal, _pixel_spacing(slices))


def _cosines(header: SliceHeader) -> tuple[geometry.Floats, geometry.Floats]:
    if header.image_orientation_patient is None or header.image_position_patient is None:
        raise VolumeError("an image holds no orientation or position")
    if max(abs(p) for p in header.image_position_patient) > FURTHEST_MM:
        raise VolumeError("an image lies outside of any scanner")
    try:
        return geometry.cosines(header.image_orientation_patient)
    except ValueError as error:
        raise VolumeError(f"an image cannot be placed: {error}") from error


def _pixel_spacing(slices: Sequence[SliceHeader]) -> tuple[float, float]:
    """Row spacing, column spacing (PS3.3 10.7.1.3), the same for all slices."""
    spacings = {s.pixel_spacing_mm for s in slices}
    if None in spacings:
        raise VolumeError("an image holds no pixel spacing")
    known = np.array(sorted(s for s in spacings if s is not None))
    if known.min() < 0.05 or known.max() > 10:
        raise VolumeError(f"pixel spacing of {known.min():g} to {known.max():g} mm is not that of a head CT")
    if np.ptp(known, axis=0).max() > 1e-3 * known.max():
        raise VolumeError("images of different pixel spacing in one series")
    return float(known[0][0]), float(known[0][1])


def _in_order(planes: _Planes, series: SeriesPixels, notes: list[str]) -> NDArray[np.intp]:
    """Indices of the slices from the lowest up, without identical twins. Raises DuplicatePositions."""
    uids = np.array([s.sop_instance_uid for s in series.slices])
    order = np.lexsort((uids, planes.positions_mm))
    positions = planes.positions_mm[order]
    if len(order) > 1 and positions[-1] - positions[0] <= geometry.SAME_PLACE_MM:
        raise DuplicatePositions(f"{len(order)} images at one position (bolus monitoring or perfusion): not a volume")
    kept: list[int] = []
    differing: list[float] = []
    for i, position in zip(order, positions, strict=True):
        if not kept or position - planes.positions_mm[kept[-1]] > geometry.SAME_PLACE_MM:
            kept.append(int(i))
        elif not _same_image(series, kept[-1], int(i)):
            differing.append(float(position))
    if differing:
        raise DuplicatePositions(
            f"{_count(len(differing), 'further image')} at positions that already have another one, first at "
            f"{differing[0]:.1f} mm: two acquisitions or reconstructions in one series"
        )
    if len(kept) < 2:
        raise VolumeError("a single image is not a volume")
    if len(kept) < len(order):
        notes.append(f"{_count(len(order) - len(kept), 'identical image')} left out")
    return np.array(kept)


def _same_image(series: SeriesPixels, a: int, b: int) -> bool:
    one, other = series.slices[a], series.slices[b]
    same_meaning = all(
        getattr(one, name) == getattr(other, name)
        for name in ("rescale_slope", "rescale_intercept", "bits_stored", "high_bit", "signed")
    )
    return same_meaning and bool(np.array_equal(series.words[a], series.words[b]))


def _gap_words(gaps: Sequence[geometry.Gap]) -> str:
    missing = sum(g.missing_slices for g in gaps)
    places = ", ".join(f"{g.below_mm:.1f} and {g.above_mm:.1f} mm" for g in gaps[:3])
    more = f" and {len(gaps) - 3} more places" if len(gaps) > 3 else ""
    return f"{_count(missing, 'slice')} missing, between {places}{more}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _to_hounsfield(words: NDArray[np.uint16], header: SliceHeader, target: NDArray[np.int16]) -> bool:
    """Fill `target` with HU. Returns whether a padding value was there that is not believed."""
    if header.rescale_slope is None or header.rescale_intercept is None:
        raise NotHounsfield("an image holds no rescale to Hounsfield units")
    if header.rescale_type not in ("", "HU", "HU_MOD"):
        raise NotHounsfield(f"pixel values are {header.rescale_type[:16]}, not Hounsfield units")
    slope, intercept = header.rescale_slope, header.rescale_intercept
    if slope == 0 or abs(slope) > 100 or abs(intercept) > 1e5:
        raise NotHounsfield(f"a rescale of {slope:g} and {intercept:g} does not lead to Hounsfield units")
    shift = 16 - header.bits_stored
    if not 0 <= 15 - header.high_bit <= shift:
        raise NotHounsfield(f"high bit {header.high_bit} with {header.bits_stored} bits stored")
    aligned = words << np.uint16(15 - header.high_bit)
    stored: NDArray[np.int16] | NDArray[np.uint16]
    stored = aligned.view(np.int16) >> np.int16(shift) if header.signed else aligned >> np.uint16(shift)
    if slope == 1 and intercept == int(intercept):
        values: NDArray[np.int32] | NDArray[np.float32] = stored.astype(np.int32) + np.int32(intercept)
    else:
        values = np.rint(stored.astype(np.float32) * np.float32(slope) + np.float32(intercept))
    np.clip(values, AIR_HU, HIGHEST_HU, out=values)
    target[...] = values
    if header.pixel_padding is None:
        return False
    low, high = sorted(header.pixel_padding)
    lowest, beyond = (
        (-1 << (header.bits_stored - 1), 1 << (header.bits_stored - 1)) if header.signed else (0, 65536 >> shift)
    )
    if not lowest <= low <= high < beyond:
        # such as -2000 in 12 unsigned bits: no pixel can have that value, so it is looked for in the words as they stand
        target[(words == low & 0xFFFF) | (words == high & 0xFFFF)] = AIR_HU
        return False
    if max(low * slope, high * slope) + intercept > PADDING_IS_BELOW_HU:
        return True
    target[(stored >= low) & (stored <= high)] = AIR_HU
    return False
