"""Connected bleeds out of a mask: where, and how much. Which type: `naming.py`.

Location by simple geometry in the patient's axes, and UNKNOWN where it does not decide:
ventricular and extra-axial follow from the subtype. A parenchymal bleed is infratentorial when it lies more than
BELOW_VERTEX_MM[1] under the vertex in the back half of the head; lobar within LOBAR_MM of the inner table; deep beyond
DEEP_MM of it. Between the limits, or when the scan does not reach the vertex, it is unknown.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from triage_node.domain.finding import Component, Location
from triage_node.domain.volume import Volume

LEAST_ML = 0.05
"""Smaller pieces are left out of the list and of the mask."""
MOST_COMPONENTS = 60
LOBAR_MM, DEEP_MM = 22.0, 28.0
BELOW_VERTEX_MM = (78.0, 92.0)
"""Above the first a bleed is supratentorial, below the second and behind the middle it is infratentorial."""

Array = NDArray[np.float32]
Bools = NDArray[np.bool_]
CONNECTED = np.ones((3, 3, 3), bool)


def connected(blood: Bools) -> NDArray[np.int32]:
    """Labels of pieces that touch by face, edge or corner. Shape: (block, row, column)."""
    labels: NDArray[np.int32] = ndimage.label(blood, CONNECTED)[0].astype(np.int32)
    return labels


def location_of(subtype: str, depth_mm: float, below_vertex_mm: float | None, behind_middle: bool) -> Location:
    """`depth_mm`: mean distance of the piece from the inner table; `below_vertex_mm` None when the vertex is not seen.

    What has no type, "", has no place either: the limits are those of a parenchymal bleed.
    """
    if not subtype:
        return Location.UNKNOWN
    if subtype == "ivh":
        return Location.VENTRICULAR
    if subtype in ("sah", "sdh", "edh"):
        return Location.EXTRA_AXIAL
    if below_vertex_mm is None:
        return Location.UNKNOWN
    if below_vertex_mm > BELOW_VERTEX_MM[0] and behind_middle:
        return Location.INFRATENTORIAL if below_vertex_mm > BELOW_VERTEX_MM[1] else Location.UNKNOWN
    if depth_mm < LOBAR_MM:
        return Location.LOBAR
    return Location.DEEP if depth_mm > DEEP_MM else Location.UNKNOWN


def measured(
    volume: Volume, labels: NDArray[np.uint8], label: int, subtype: str, location: Location, probability: float
) -> Component:
    """Volume, key slice and centroid of one label at native resolution. Shape: labels like volume.hu."""
    piece = labels == label
    pixels = piece.reshape(len(piece), -1).sum(axis=1)
    where = np.argwhere(piece).mean(axis=0)
    x, y, z = (float(v) for v in volume.to_patient_mm(*where))
    return Component(
        label=label,
        volume_ml=volume.volume_ml(piece),
        subtype=subtype,
        location=location,
        key_slice_index=int(pixels.argmax()),
        centroid_mm=(x, y, z),
        probability=probability,
    )
