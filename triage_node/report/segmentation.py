"""The mask as a SEG: BINARY, positives only, one segment per bleed, on the geometry of the source (STANDARDS.md 2.3)."""

from __future__ import annotations

import highdicom as hd
import numpy as np
from pydicom.uid import ExplicitVRLittleEndian

from triage_node.domain.delivery import ObjectKind
from triage_node.domain.finding import Detection
from triage_node.report import codes, wording
from triage_node.report.provenance import MANUFACTURER, MODEL, SERIES_NUMBERS, Draft, finish
from triage_node.report.request import BuiltFile
from triage_node.report.segments import Segment

RED = hd.color.CIELabColor(53.2, 80.1, 67.2)


def build_segmentation(draft: Draft, detection: Detection, segments: tuple[Segment, ...]) -> BuiltFile | None:
    """The SEG, or None for an empty mask: viewers choke on a SEG without a positive pixel (STANDARDS.md 2.3.3)."""
    if not segments:
        return None
    number_of_label = np.zeros(256, dtype=np.uint8)
    for s in segments:
        number_of_label[s.label] = s.number
    used = np.flatnonzero(detection.mask.any(axis=(1, 2)))
    name, version = draft.algorithm_name()
    algorithm = hd.AlgorithmIdentificationSequence(
        name=name,
        family=codes.ARTIFICIAL_INTELLIGENCE,
        version=version,
        source=MANUFACTURER,
        parameters=dict(p.split("=", 1) for p in draft.parameters()),
    )
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=s.number,
            segment_label=s.name[:64],
            segmented_property_category=codes.ABNORMAL_STRUCTURE,
            segmented_property_type=codes.HEMORRHAGE,
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
            tracking_uid=draft.tracking_uid(str(s.label)),
            tracking_id=s.tracking_id,
            anatomic_regions=[codes.BRAIN],
            display_color=RED,
        )
        for s in segments
    ]
    slices = draft.sources.slices
    unused = [s for i, s in enumerate(slices) if i not in set(used.tolist())]
    ds = hd.seg.Segmentation(
        source_images=[slices[i] for i in used],
        pixel_array=number_of_label[detection.mask[used]],
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=draft.uid(ObjectKind.SEG, "series"),
        series_number=SERIES_NUMBERS[ObjectKind.SEG],
        sop_instance_uid=draft.uid(ObjectKind.SEG, "1"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=draft.software_version,
        device_serial_number=draft.station,
        content_label=f"{wording.SUBJECT}_MASK",
        content_description=f"AI hemorrhage mask. {wording.NOT_FOR_DIAGNOSIS}"
        + (f". {wording.SIMULATED}" if draft.request.simulation else ""),
        content_qualification="RESEARCH",
        series_description=draft.series_description("segmentation"),
        contributing_equipment=draft.equipment(),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        further_source_images=unused or None,
    )
    ds.BodyPartExamined = "HEAD"
    ds.ContentCreatorName = ""  # type 2 in the Content Identification macro; no person made it
    organization = draft.uid(ObjectKind.SEG, "dimension organization")
    return finish(draft, ds, ObjectKind.SEG, dimension_organization_uid=organization)
