"""Heatmaps: the slices around the bleed once more, with the network's heat over them, aligned slice by slice with the CT.

Each carries frame of reference, position, orientation and spacing of its source slice, so that viewers scroll both together
(STANDARDS.md 2.4.1), and in its pixels what it is, since a picture travels without its context (2.4.6).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from triage_node.domain.delivery import ObjectKind
from triage_node.domain.finding import Detection, FindingDecision
from triage_node.domain.volume import Volume
from triage_node.report import drawing, wording
from triage_node.report.capture import capture
from triage_node.report.provenance import Draft, finish
from triage_node.report.request import BuiltFile
from triage_node.report.source_headers import patient_orientation

SLICES_AROUND = 1
ALIGNMENT = (
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
)


def slices_shown(detection: Detection) -> list[int]:
    """Slices with mask and their neighbours; without any mask the key slice and its neighbours."""
    marked = np.atleast_1d(detection.mask.any(axis=(1, 2)))
    if not marked.any():
        marked[min(max(detection.key_slice_index, 0), len(marked) - 1)] = True
    reach = np.ones(2 * SLICES_AROUND + 1, dtype=int)
    return [int(i) for i in np.flatnonzero(np.convolve(marked.astype(int), reach, "same"))]


def build_heatmaps(
    draft: Draft, volume: Volume, detection: Detection, decision: FindingDecision
) -> Iterator[BuiltFile]:
    """One secondary capture a slice, Instance Number as the source's."""
    orientation = patient_orientation(volume)
    for i in slices_shown(detection):
        pixels = _picture(draft, volume.hu[i], detection.heat[i], detection.mask[i] > 0, decision)
        source = draft.sources.slices[i]
        ds = capture(
            draft,
            ObjectKind.HEATMAP_SC,
            pixels,
            index=str(i),
            instance_number=draft.sources.instance_number(i),
            image_type="AI_HEATMAP",
            what="heatmap",
            derived_from=[source],
            description="Network heat over CT. " + wording.NOT_FOR_DIAGNOSIS,
        )
        for keyword in ALIGNMENT:
            ds[keyword] = source[keyword]
        ds.PatientOrientation = orientation
        yield finish(draft, ds, ObjectKind.HEATMAP_SC)


def _picture(
    draft: Draft,
    hu: NDArray[np.int16],
    heat: NDArray[np.uint8],
    region: NDArray[np.bool_],
    decision: FindingDecision,
) -> NDArray[np.uint8]:
    image = drawing.with_heat(drawing.rgb(drawing.gray(hu)), heat)
    image[drawing.border_of(region)] = drawing.OUTLINE
    canvas = drawing.Canvas(image)
    rows, columns = hu.shape
    size = max(10, min(rows, columns) // 32)
    margin, width = size // 2, columns - size
    above = [(wording.BANNER, drawing.AMBER)]
    if draft.request.simulation:
        above.append((wording.SIMULATED, drawing.AMBER))
    y = margin
    for line, colour in above:
        y = canvas.paragraph(line, margin, y, size, colour, width, shadow=True)
    name, version = draft.algorithm_name()
    below = [
        f"{wording.short_headline(decision)}: {wording.suspicion_words(decision, draft.request.calibrated)}",
        f"{name} {version}. {wording.evidence_line(draft.request.evidence, decision)}",
    ]
    y = rows - margin - drawing.text_height(below, size, width)
    for line in below:
        y = canvas.paragraph(line, margin, y, size, drawing.WHITE, width, shadow=True)
    return canvas.pixels
