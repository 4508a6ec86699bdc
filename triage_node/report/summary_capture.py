"""One page a study, readable on a bedside monitor: the key slice with its outline and the numbers in words.

And its counterpart for a study that was not analysed. No name, identifier or date of the patient is drawn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from triage_node.domain.delivery import ObjectKind
from triage_node.domain.finding import Detection, FindingDecision
from triage_node.domain.volume import Volume
from triage_node.report import drawing, wording
from triage_node.report.capture import capture
from triage_node.report.plain_values import without_control
from triage_node.report.provenance import Draft, finish
from triage_node.report.request import BuiltFile
from triage_node.report.source_headers import patient_sides

HEIGHT, WIDTH = 960, 1280
PICTURE = 768
BAND = 96
MARGIN = 32
LABEL, GAP = 28, 14
VALUE_SIZES = (44, 40, 36, 32, 28)
"""Type is as large as the words leave room for."""
HEAD_HU = -200
"""Above this is head, couch or head rest; the picture is cut to it."""


def build_summary(draft: Draft, volume: Volume, detection: Detection, decision: FindingDecision) -> BuiltFile:
    """Key slice left, words right, the warning along the bottom."""
    key = min(max(detection.key_slice_index, 0), len(volume.hu) - 1)
    canvas = drawing.Canvas(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    canvas.paste(key_slice(volume, detection, key), 0, 0)
    left, right = patient_sides(volume)
    canvas.paragraph(left, MARGIN, PICTURE // 2, 40, drawing.WHITE, 100, shadow=True)
    canvas.paragraph(right, PICTURE - MARGIN, PICTURE // 2, 40, drawing.WHITE, 100, shadow=True)
    _below_picture(canvas, draft, key, slice_from_below(volume, key), len(volume.hu))
    _words(canvas, draft, detection, decision)
    _band(canvas, draft)
    ds = capture(
        draft,
        ObjectKind.SUMMARY_SC,
        canvas.pixels,
        index="1",
        instance_number=1,
        image_type="AI_SUMMARY",
        what="summary",
        derived_from=[draft.sources.slices[key]],
        description="Key slice and numbers in words. " + wording.NOT_FOR_DIAGNOSIS,
    )
    return finish(draft, ds, ObjectKind.SUMMARY_SC)


def build_not_analysed_page(draft: Draft) -> BuiltFile:
    """The reason, large, and that it says nothing about the patient."""
    canvas = drawing.Canvas(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    width = WIDTH - 2 * MARGIN
    y = canvas.paragraph("NOT ANALYSED by the triage software", MARGIN, 120, 64, drawing.AMBER, width)
    y = canvas.paragraph(_shortened(draft.request.not_analysed_reason), MARGIN, y + 40, 48, drawing.WHITE, width)
    canvas.paragraph(
        "This says nothing about a hemorrhage. Read the study as if the software were not there.",
        MARGIN,
        y + 40,
        40,
        drawing.GREY,
        width,
    )
    _band(canvas, draft)
    ds = capture(
        draft,
        ObjectKind.NOT_ANALYSED_SC,
        canvas.pixels,
        index="1",
        instance_number=1,
        image_type="AI_STATUS",
        what="status",
        derived_from=[],
        description="Study not analysed. " + wording.NOT_FOR_DIAGNOSIS,
    )
    return finish(draft, ds, ObjectKind.NOT_ANALYSED_SC)


def _shortened(reason: str, longest: int = 240) -> str:
    reason = " ".join(without_control(reason).split())
    return reason if len(reason) <= longest else reason[: longest - 3] + "..."


def key_slice(volume: Volume, detection: Detection, key: int) -> NDArray[np.uint8]:
    """The slice in true proportions, cut to the head, with the outline. Shape: (PICTURE, PICTURE, 3)."""
    hu, region = volume.hu[key], detection.mask[key] > 0
    top, bottom, left, right = _box(hu > HEAD_HU, volume.pixel_spacing_mm)
    row_mm, column_mm = volume.pixel_spacing_mm
    finest = min(row_mm, column_mm)
    side_mm = max((bottom - top) * row_mm, (right - left) * column_mm)
    factor = PICTURE / (side_mm / finest)
    image = drawing.gray(hu[top:bottom, left:right])
    shown = _scaled(image, row_mm / finest * factor, column_mm / finest * factor)
    mask = _scaled(
        region[top:bottom, left:right].astype(np.uint8) * 255, row_mm / finest * factor, column_mm / finest * factor
    )
    picture = drawing.rgb(shown)
    border = mask > 127
    for _ in range(3):
        ring = drawing.border_of(border)
        picture[ring] = drawing.OUTLINE
        border |= ring
    out = np.zeros((PICTURE, PICTURE, 3), np.uint8)
    height, width = min(PICTURE, picture.shape[0]), min(PICTURE, picture.shape[1])
    y, x = (PICTURE - height) // 2, (PICTURE - width) // 2
    out[y : y + height, x : x + width] = picture[:height, :width]
    return out


def _box(head: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> tuple[int, int, int, int]:
    """Rows and columns that hold the head, with 5 mm of air around; the whole picture when there is no head."""
    if not head.any():
        return 0, head.shape[0], 0, head.shape[1]
    found = []
    for axis, step_mm in enumerate(spacing_mm):
        # a couch line is long but thin: a row or column belongs to the head when 30 mm of it do
        other_mm = spacing_mm[1 - axis]
        filled = np.flatnonzero(head.sum(axis=1 - axis) * other_mm > 30)
        air = int(5 / step_mm)
        first, last = (int(filled[0]), int(filled[-1])) if filled.size else (0, head.shape[axis] - 1)
        found += [max(0, first - air), min(head.shape[axis], last + 1 + air)]
    return found[0], found[1], found[2], found[3]


def _scaled(image: NDArray[np.uint8], row_factor: float, column_factor: float) -> NDArray[np.uint8]:
    size = (max(1, round(image.shape[1] * column_factor)), max(1, round(image.shape[0] * row_factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def slice_from_below(volume: Volume, index: int) -> int:
    """1 for the slice nearest to the feet: in a legal series whose normal points down that is the last one."""
    return index + 1 if volume.normal[2] >= 0 else len(volume.hu) - index


def blood_words(detection: Detection, decision: FindingDecision) -> str:
    """Where the evidence does not carry a volume here, the decision holds none; an outline is told all the same."""
    if decision.hematoma_volume_ml > 0:
        return wording.volume_words(decision.hematoma_volume_ml)
    return "outlined, volume not proven here" if detection.mask.any() else "not outlined"


def _below_picture(canvas: drawing.Canvas, draft: Draft, key: int, number: int, count: int) -> None:
    words = f"Image {draft.sources.instance_number(key)}, slice {number} of {count} from below"
    canvas.paragraph(words, MARGIN, PICTURE + 20, 32, drawing.GREY, PICTURE - MARGIN)


def _words(canvas: drawing.Canvas, draft: Draft, detection: Detection, decision: FindingDecision) -> None:
    x, width = PICTURE + MARGIN, WIDTH - PICTURE - 2 * MARGIN
    y = canvas.paragraph(wording.headline(decision), x, MARGIN, 56, drawing.RED, width)
    y += 24
    rows = [("Blood", blood_words(detection, decision))]
    if kind := wording.kind_words(decision):
        rows.append(("Kind", kind))
    if place := wording.place_words(decision):
        rows.append(("Where", place))
    rows.append(("Certainty", wording.suspicion_words(decision, draft.request.calibrated)))
    values = [value for _, value in rows]
    room = HEIGHT - BAND - y - len(rows) * (drawing.line_height(LABEL) + GAP)
    size = next((s for s in VALUE_SIZES if drawing.text_height(values, s, width) <= room), VALUE_SIZES[-1])
    for label, value in rows:
        y = canvas.paragraph(label, x, y, LABEL, drawing.GREY, width)
        y = canvas.paragraph(value, x, y, size, drawing.WHITE, width) + GAP


def _band(canvas: drawing.Canvas, draft: Draft) -> None:
    top = HEIGHT - BAND
    canvas.panel((0, top, WIDTH, HEIGHT), drawing.AMBER)
    warning = wording.BANNER + (f" - {wording.SIMULATED}" if draft.request.simulation else "")
    canvas.paragraph(warning, MARGIN, top + 8, 44, drawing.BLACK, WIDTH - 2 * MARGIN)
    name, version = draft.algorithm_name()
    canvas.paragraph(
        f"{name} {version}. {wording.evidence_line(draft.request.evidence, draft.request.decision)}",
        MARGIN,
        top + 62,
        24,
        drawing.BLACK,
        WIDTH - 2 * MARGIN,
    )
