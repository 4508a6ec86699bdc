"""From a request to finished files: which kinds of objects belong to which outcome, and in which order they refer.

A flagged study has findings SR, location SR, SEG, heatmaps and summary; an unflagged one at most a status SR; one that was not
analysed a page or a status SR with the reason. A kind that does not belong to the outcome is not built.
"""

from __future__ import annotations

from collections.abc import Iterator

from triage_node.domain.delivery import ObjectKind
from triage_node.domain.errors import UNREADABLE, ReportError, TriageNodeError
from triage_node.domain.finding import FINDINGS, Detection, FindingDecision
from triage_node.domain.volume import Volume
from triage_node.report.heatmap_capture import build_heatmaps
from triage_node.report.location_report import build_location_report
from triage_node.report.measurement_report import (
    build_findings_report,
    build_not_analysed_report,
    build_not_flagged_report,
)
from triage_node.report.provenance import Draft
from triage_node.report.request import BuiltFile, ReportRequest
from triage_node.report.segmentation import build_segmentation
from triage_node.report.segments import segments_of
from triage_node.report.summary_capture import build_not_analysed_page, build_summary


def build_objects(request: ReportRequest) -> tuple[BuiltFile, ...]:
    """Every object of `request.kinds` that the outcome has, those that are referred to first.

    Where a SEG is built, the findings SR comes twice: one refers to the SEG, the other (`refers_to` empty) is what an archive
    gets that takes no SEG or whose SEG was parked.
    The same request gives the same bytes. Raises: ReportError, with a sentence that says why.
    """
    try:
        return tuple(_objects(request))
    except TriageNodeError:
        raise
    except (*UNREADABLE, MemoryError, RecursionError) as error:
        # what a hostile header can still provoke inside the libraries must not lose the study without a word
        raise ReportError(f"the objects could not be built: {type(error).__name__}: {error}"[:300]) from error


def _objects(request: ReportRequest) -> Iterator[BuiltFile]:
    draft = Draft.of(request)
    volume, detection, decision = request.volume, request.detection, request.decision
    if volume is None or detection is None or decision is None:
        yield from _not_analysed(draft)
    elif not decision.flagged:
        if ObjectKind.NOT_FLAGGED_SR in request.kinds:
            yield build_not_flagged_report(draft, decision)
    else:
        yield from _flagged(draft, volume, detection, decision)


def _not_analysed(draft: Draft) -> Iterator[BuiltFile]:
    request = draft.request
    if not request.not_analysed_reason.strip():
        raise ReportError("a study without a result needs the reason why it was not analysed")
    if ObjectKind.NOT_ANALYSED_SC in request.kinds:
        yield build_not_analysed_page(draft)
    if ObjectKind.NOT_ANALYSED_SR in request.kinds:
        yield build_not_analysed_report(draft, next(iter(FINDINGS)))


def _flagged(draft: Draft, volume: Volume, detection: Detection, decision: FindingDecision) -> Iterator[BuiltFile]:
    if detection.mask.shape != volume.hu.shape or detection.heat.shape != volume.hu.shape:
        raise ReportError("mask and heat must have the shape of the volume")
    kinds = draft.request.kinds
    segments = segments_of(detection, volume, decision)
    segmentation = build_segmentation(draft, detection, segments) if ObjectKind.SEG in kinds else None
    if segmentation is not None:
        yield segmentation
    if ObjectKind.HEATMAP_SC in kinds:
        yield from build_heatmaps(draft, volume, detection, decision)
    if ObjectKind.SUMMARY_SC in kinds:
        yield build_summary(draft, volume, detection, decision)
    if ObjectKind.LOCATION_SR in kinds and segments:
        yield build_location_report(draft, volume, detection, segments)
    if ObjectKind.FINDINGS_SR in kinds:
        if segmentation is not None:
            yield build_findings_report(draft, detection, decision, segments, segmentation)
        yield build_findings_report(draft, detection, decision, segments, None)
