"""The SRs for machines: Comprehensive 3D SR by TID 1500 (PS3.16), for a flagged, an unflagged and an unanalysed study.

Groups: TID 1501 for the study and each subtype, TID 1411 for each segmented bleed. The algorithm (TID 4019) stands at the group
in 1501 and at the measurement in 1411, where validators expect it (STANDARDS.md 2.2.3). A finding is present or undetermined;
"absent" is never said (DESIGN.md invariant 5).
"""

from __future__ import annotations

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import SegmentationStorage

from triage_node.domain.delivery import ObjectKind
from triage_node.domain.errors import ReportError
from triage_node.domain.finding import FINDINGS, Detection, FindingDecision
from triage_node.domain.prognosis import Prediction
from triage_node.report import codes, wording
from triage_node.report.plain_values import without_control
from triage_node.report.provenance import MANUFACTURER, SERIES_NUMBERS, Draft, finish
from triage_node.report.read_back import read
from triage_node.report.request import BuiltFile
from triage_node.report.segments import Segment

StudyGroup = sr.MeasurementsAndQualitativeEvaluations
VolumeGroup = sr.VolumetricROIMeasurementsAndQualitativeEvaluations
Group = StudyGroup | VolumeGroup
MOST_KEY_IMAGES = 6
"""The image library describes only these: 16 items an image make a report of megabytes (STANDARDS.md 2.2.7)."""


def build_findings_report(
    draft: Draft,
    detection: Detection,
    decision: FindingDecision,
    segments: tuple[Segment, ...],
    segmentation: BuiltFile | None,
) -> BuiltFile:
    """The findings SR. With a SEG it measures its segments; without one (not wanted, or parked) the total volume stays."""
    key_slices = _key_slices(detection, segments)
    groups: list[Group] = [_study_group(draft, detection, decision, key_slices[0])]
    root = codes.root_finding(decision.finding)
    groups += [_subtype_group(draft, detection, decision, key) for key in codes.subtypes_of(root)]
    if segmentation is not None:
        groups += [_segment_group(draft, s, segmentation, decision.hematoma_volume_ml > 0) for s in segments]
    groups += [_prediction_group(draft, p) for p in draft.request.predictions if p.score_range and not p.abstained]
    comments = [wording.headline(decision) + ", " + wording.suspicion_words(decision, draft.request.calibrated) + "."]
    comments += [line for p in draft.request.predictions for line in wording.prediction_lines(p)]
    predecessors = _predecessors(draft)
    evidence: list[Dataset] = [read(segmentation.data)] if segmentation is not None else []
    return write_report(
        draft,
        kind=ObjectKind.FINDINGS_SR,
        index="1" if segmentation is not None else "1 without SEG",
        what="findings",
        groups=groups,
        comments=comments,
        key_images=[draft.sources.slices[i] for i in key_slices],
        further_evidence=evidence,
        predecessors=predecessors,
    )


def build_not_flagged_report(draft: Draft, decision: FindingDecision) -> BuiltFile:
    """For a destination that asks for it: the study was processed, and that is all (STANDARDS.md 2.2.6)."""
    root = codes.root_finding(decision.finding)
    return write_report(
        draft,
        kind=ObjectKind.NOT_FLAGGED_SR,
        index="1",
        what="status",
        groups=[_undetermined_group(draft, root)],
        comments=[wording.NOT_SURE if decision.unsure else wording.NOT_FLAGGED],
        key_images=[],
    )


def build_not_analysed_report(draft: Draft, root: str) -> BuiltFile:
    """Presence undetermined, with the reason."""
    reason = without_control(draft.request.not_analysed_reason)[:1000]
    return write_report(
        draft,
        kind=ObjectKind.NOT_ANALYSED_SR,
        index="1",
        what="status",
        groups=[_undetermined_group(draft, root)],
        comments=[wording.NOT_ANALYSED, f"Reason: {reason}"],
        key_images=[],
    )


def write_report(
    draft: Draft,
    *,
    kind: ObjectKind,
    index: str,
    what: str,
    groups: list[Group],
    comments: list[str],
    key_images: list[Dataset],
    further_evidence: list[Dataset] | None = None,
    predecessors: list[Dataset] | None = None,
) -> BuiltFile:
    """A Comprehensive 3D SR of these groups, with what every report of ours says."""
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=draft.observer()),
        procedure_reported=codes.CT_HEAD,
        imaging_measurements=groups,
        title=codes.REPORT_TITLE,
        language_of_content_item_and_descendants=draft.language(),
        referenced_images=key_images or None,
    )[0]
    request = draft.request
    said = [wording.NOT_FOR_DIAGNOSIS + ". Made by software, not read by a physician."]
    said += [wording.SIMULATED + "."] if request.simulation else []
    said += [wording.evidence_line(request.evidence, request.decision) + "."]
    for line in said + comments:
        content.ContentSequence.append(
            sr.TextContentItem(name=codes.COMMENT, value=without_control(line)[:1024], relationship_type="CONTAINS")
        )
    seg_evidence = further_evidence or []
    ds = sr.Comprehensive3DSR(
        evidence=[*draft.sources.slices, *seg_evidence],
        content=content,
        series_instance_uid=draft.uid(kind, "series"),
        series_number=SERIES_NUMBERS[kind],
        sop_instance_uid=draft.uid(kind, index),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=draft.series_description(what),
        contributing_equipment=draft.equipment(),
        previous_versions=predecessors or None,
    )
    return finish(draft, ds, kind, refers_to=tuple(str(d.SOPInstanceUID) for d in seg_evidence))


def _key_slices(detection: Detection, segments: tuple[Segment, ...]) -> list[int]:
    """The detector's key slice first, then that of each bleed."""
    last = len(detection.mask) - 1
    ordered = [min(max(detection.key_slice_index, 0), last), *(s.key_slice_index for s in segments)]
    return list(dict.fromkeys(ordered))[:MOST_KEY_IMAGES]


def _tracking(draft: Draft, label: str, identifier: str) -> sr.TrackingIdentifier:
    return sr.TrackingIdentifier(uid=draft.tracking_uid(label), identifier=identifier)


def _site() -> list[sr.FindingSite]:
    return [sr.FindingSite(codes.BRAIN)]


def _presence(value: Code) -> sr.QualitativeEvaluation:
    return sr.QualitativeEvaluation(codes.PRESENCE, value)


def _probability(value: float) -> sr.Measurement:
    return sr.Measurement(name=codes.PROBABILITY, value=_in_unit(value), unit=codes.NO_UNITS)


def _in_unit(value: float) -> float:
    """A probability with as many digits as it is worth. Raises: ReportError outside [0, 1], and for what is no number."""
    if not 0 <= value <= 1:
        raise ReportError(f"a probability of {value} cannot be reported")
    return round(float(value), 4)


def _study_group(draft: Draft, detection: Detection, decision: FindingDecision, key_slice: int) -> StudyGroup:
    root = codes.root_finding(decision.finding)
    measurements = [_probability(detection.study_probability)]
    if decision.hematoma_volume_ml > 0:
        measurements.append(_volume(decision.hematoma_volume_ml))
    image = draft.sources.slices[key_slice]
    return StudyGroup(
        tracking_identifier=_tracking(draft, "study", f"{FINDINGS[root].short} study"),
        finding_type=codes.finding_code(root),
        algorithm_id=draft.algorithm(),
        finding_sites=_site(),
        measurements=measurements,
        qualitative_evaluations=[
            _presence(codes.PRESENT),
            sr.QualitativeEvaluation(codes.SIGNIFICANCE, codes.ACTIONABLE_1),
        ],
        source_images=[sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)],
    )


def _subtype_group(draft: Draft, detection: Detection, decision: FindingDecision, key: str) -> StudyGroup:
    is_told = detection.bundle.level(key) >= draft.request.least_level
    probability = detection.subtype_probabilities.get(key) if is_told else None
    return StudyGroup(
        tracking_identifier=_tracking(draft, key, f"{FINDINGS[key].short} study"),
        finding_type=codes.finding_code(key),
        algorithm_id=draft.algorithm(),
        finding_sites=_site(),
        measurements=None if probability is None else [_probability(probability)],
        qualitative_evaluations=[_presence(codes.PRESENT if key in decision.subtypes else codes.UNDETERMINED)],
    )


def _undetermined_group(draft: Draft, key: str) -> StudyGroup:
    return StudyGroup(
        tracking_identifier=_tracking(draft, "study", f"{FINDINGS[key].short} study"),
        finding_type=codes.finding_code(key),
        algorithm_id=draft.algorithm(),
        finding_sites=_site(),
        qualitative_evaluations=[_presence(codes.UNDETERMINED)],
    )


def _volume(milliliters: float, algorithm: sr.AlgorithmIdentification | None = None) -> sr.Measurement:
    value = round(milliliters, 3)
    return sr.Measurement(name=codes.VOLUME, value=value, unit=codes.MILLILITER, algorithm_id=algorithm)


def _segment_group(draft: Draft, segment: Segment, segmentation: BuiltFile, measured: bool) -> VolumeGroup:
    return VolumeGroup(
        tracking_identifier=_tracking(draft, str(segment.label), segment.tracking_id),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=SegmentationStorage,
            sop_instance_uid=segmentation.built.sop_instance_uid,
            segment_number=segment.number,
            source_series=sr.SourceSeriesForSegmentation(str(draft.sources.slices[0].SeriesInstanceUID)),
        ),
        finding_type=codes.finding_code(segment.finding),
        finding_sites=_site(),
        measurements=[_volume(segment.volume_ml, draft.algorithm())] if measured else None,
    )


def _prediction_group(draft: Draft, prediction: Prediction) -> StudyGroup:
    """A score with its range as minimum and maximum, named by the tracking identifier.

    No agreed codes exist for outcomes, and validators refuse private ones; a figure of outcome under the code of a finding's
    probability would be misread. So the figures, what is missing and the caution stand in the comments.
    """
    ends = zip(prediction.score_range or (), (codes.MINIMUM, codes.MAXIMUM), strict=False)
    measurements = [
        sr.Measurement(name=codes.SCORE, value=value, unit=codes.SCORE_UNIT, derivation=which) for value, which in ends
    ]
    return StudyGroup(
        tracking_identifier=_tracking(draft, f"prediction {prediction.name}", without_control(prediction.label)[:64]),
        algorithm_id=draft.algorithm(),
        measurements=measurements or None,
    )


def _predecessors(draft: Draft) -> list[Dataset]:
    """The report that this one replaces (PS3.3 C.17.2, Predecessor Documents Sequence)."""
    predecessor = draft.request.predecessor
    if predecessor is None:
        return []
    return [read(predecessor.data) if isinstance(predecessor, BuiltFile) else predecessor]
