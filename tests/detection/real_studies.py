"""Real studies as volumes, read with pydicom alone, so that these tests stand without the rooms beside detection."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pydicom

from tests.support.data import shared_data
from triage_node.domain.volume import Volume


def ge_volume() -> Volume:
    """The GE head: 28 slices, 4 and 7 mm, gantry tilt 18.5 degrees, no bleed."""
    path = shared_data() / "ge_head" / "ge_head.tar.xz"
    with tarfile.open(path) as tar:
        members = [m for m in tar.getmembers() if m.name.endswith(".dcm")]
        sets = [pydicom.dcmread(io.BytesIO(tar.extractfile(m).read())) for m in members]
    row, column = (np.array(sets[0].ImageOrientationPatient[i : i + 3], float) for i in (0, 3))
    normal = np.cross(row, column)
    sets.sort(key=lambda d: float(np.dot(d.ImagePositionPatient, normal)))
    positions = np.array([np.dot(d.ImagePositionPatient, normal) for d in sets], float)
    thickness = np.array([d.SliceThickness for d in sets], float)
    steps = np.diff(positions) / 2
    extent = np.concatenate([[thickness[0] / 2], steps]) + np.concatenate([steps, [thickness[-1] / 2]])
    hu = np.stack([np.maximum(d.pixel_array, -1024) for d in sets]).astype(np.int16)
    return Volume(
        hu=hu,
        origins_mm=np.array([d.ImagePositionPatient for d in sets], float),
        row_cosine=row,
        column_cosine=column,
        pixel_spacing_mm=(float(sets[0].PixelSpacing[0]), float(sets[0].PixelSpacing[1])),
        slice_extent_mm=extent,
        slice_thickness_mm=thickness,
        frame_of_reference_uid=sets[0].FrameOfReferenceUID,
        study_instance_uid=sets[0].StudyInstanceUID,
        series_instance_uid=sets[0].SeriesInstanceUID,
        sop_instance_uids=tuple(d.SOPInstanceUID for d in sets),
    )
