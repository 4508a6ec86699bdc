"""The SR for eyes: where each bleed lies, as an outline on its key slice, in the form that OHIF opens at the right slice.

Only located groups (TID 1501 with the SCOORD inside the measurement): a report that mixes them with others opens as a black
viewport in OHIF 3.12 (STANDARDS.md 2.2.2a, 9.1.3). With `outlines_for_ohif` the tracking identifier names OHIF's own drawing
tool: OHIF then draws the outline, beside statistics that it computes itself and that are not ours.
"""

from __future__ import annotations

from highdicom import sr

from triage_node.domain.delivery import ObjectKind
from triage_node.domain.finding import Detection
from triage_node.domain.volume import Volume
from triage_node.report import codes
from triage_node.report.measurement_report import MOST_KEY_IMAGES, Group, write_report
from triage_node.report.provenance import Draft
from triage_node.report.request import BuiltFile
from triage_node.report.segments import Segment, outline

OHIF_TOOL = "Cornerstone3DTools@^0.1.0:PlanarFreehandROI"


def build_location_report(
    draft: Draft, volume: Volume, detection: Detection, segments: tuple[Segment, ...]
) -> BuiltFile:
    """One group a bleed, largest first; `segments` is not empty."""
    drawn = draft.request.outlines_for_ohif
    shown = segments[:MOST_KEY_IMAGES]
    groups: list[Group] = [_group(draft, volume, detection, s, drawn) for s in shown]
    left_out = len(segments) - len(shown)
    comments = [f"{left_out} smaller regions are not outlined."] if left_out else []
    if drawn:
        comments.append("Lengths and areas that a viewer computes from an outline are the viewer's, not this report's.")
    return write_report(
        draft,
        kind=ObjectKind.LOCATION_SR,
        index="1 for OHIF" if drawn else "1",
        what="location",
        groups=groups,
        comments=comments,
        key_images=[],
    )


def _group(
    draft: Draft, volume: Volume, detection: Detection, segment: Segment, drawn: bool
) -> sr.MeasurementsAndQualitativeEvaluations:
    border, area_px = outline(detection.mask[segment.key_slice_index] == segment.label)
    image = draft.sources.slices[segment.key_slice_index]
    where = sr.CoordinatesForMeasurement(
        graphic_type=sr.GraphicTypeValues.POLYLINE,
        graphic_data=border,
        source_image=sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID),
    )
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=draft.tracking_uid(f"{segment.label} location"), identifier=OHIF_TOOL if drawn else segment.tracking_id
        ),
        finding_type=codes.finding_code(segment.finding),
        finding_sites=[sr.FindingSite(codes.BRAIN)],
        algorithm_id=draft.algorithm(),
        measurements=[
            sr.Measurement(
                name=codes.AREA,
                value=round(area_px * volume.pixel_area_mm2, 1),
                unit=codes.SQUARE_MM,
                referenced_coordinates=[where],
            )
        ],
    )
