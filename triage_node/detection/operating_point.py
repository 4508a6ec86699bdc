"""From a probability to a decision: pure, so that a decision can be repeated from what was stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from triage_node.domain.finding import (
    FINDINGS,
    LOCATION_OUTPUT,
    VOLUME_OUTPUT,
    Answer,
    Detection,
    EvidenceLevel,
    FindingDecision,
    Location,
    OperatingPoint,
)


def decide(
    detection: Detection,
    operating_point: OperatingPoint,
    least_level: EvidenceLevel,
    others: Sequence[OperatingPoint] = (),
) -> FindingDecision:
    """Flagged from `raise_probability` on, unsure from `unsure_from` to there. Raises: ValueError for an unknown finding.

    `others`: points of findings with a probability of their own (subtypes). One decides in the place of `operating_point` where
    its answer is the stronger one and its output has `least_level`; it adds a flag and never takes one away.

    How much it says beyond the finding of the operating point: see `worded`.
    """
    if operating_point.finding not in FINDINGS:
        raise ValueError(f"no such finding: {operating_point.finding!r}")
    bundle = detection.bundle
    probability, point = detection.study_probability, operating_point
    for other in others:
        own = detection.subtype_probabilities.get(other.finding)
        if own is None or not bundle.level(other.finding) >= least_level:
            continue
        if other.answer(own).rank > point.answer(probability).rank:
            probability, point = own, other
    said = point.answer(probability)
    bare = FindingDecision(
        flagged=said.is_flag,
        finding=point.finding,
        probability=probability,
        operating_point=point,
        hematoma_volume_ml=0.0,
        subtypes=(),
        locations=(),
        bundle=bundle,
        evidence=bundle.level(point.finding),
        unsure=said is Answer.NOT_SURE,
    )
    return worded(bare, detection, least_level)


def worded(decision: FindingDecision, detection: Detection, least_level: EvidenceLevel) -> FindingDecision:
    """The same decision with all that may be said of it where an output needs `least_level` (DESIGN.md section 4).

    A more specific name, subtypes, locations and the volume each need the level themselves.
    """
    bundle, point = decision.bundle, decision.operating_point
    root = FINDINGS[point.finding].parent or point.finding
    largest = sorted(detection.components, key=lambda c: c.volume_ml, reverse=True)
    told = largest if decision.flagged and bundle.level(root) >= least_level else []
    subtypes = tuple(dict.fromkeys(c.subtype for c in told if c.subtype and bundle.level(c.subtype) >= least_level))
    is_located = decision.flagged and bundle.level(LOCATION_OUTPUT) >= least_level
    places = (c.location for c in largest if is_located and c.location is not Location.UNKNOWN)
    specific = subtypes[0] if subtypes and FINDINGS[subtypes[0]].parent == point.finding else point.finding
    return replace(
        decision,
        finding=specific,
        hematoma_volume_ml=detection.hematoma_volume_ml if bundle.level(VOLUME_OUTPUT) >= least_level else 0.0,
        subtypes=subtypes,
        locations=tuple(dict.fromkeys(places)),
        evidence=bundle.level(specific),
    )
