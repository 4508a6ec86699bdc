"""From a probability to a decision: pure, so that a decision can be repeated from what was stored."""

from __future__ import annotations

from collections.abc import Sequence

from triage_node.domain.finding import (
    FINDINGS,
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

    A more specific name, subtypes, locations and the volume count only when the output they come from has `least_level`
    (DESIGN.md section 4): a subtype by its own level, place and volume by the level of the finding itself. Otherwise the
    decision says no more than the finding of the operating point.
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
    flagged = said.is_flag
    known = bundle.level(operating_point.finding) >= least_level
    largest = sorted(detection.components, key=lambda c: c.volume_ml, reverse=True)
    named = [c for c in largest if flagged and known and bundle.level(c.subtype) >= least_level]
    subtypes = tuple(dict.fromkeys(c.subtype for c in named))
    places = (c.location for c in largest if flagged and known and c.location is not Location.UNKNOWN)
    specific = subtypes[0] if subtypes and FINDINGS[subtypes[0]].parent == point.finding else point.finding
    return FindingDecision(
        flagged=flagged,
        finding=specific,
        probability=probability,
        operating_point=point,
        hematoma_volume_ml=detection.hematoma_volume_ml if known else 0.0,
        subtypes=subtypes,
        locations=tuple(dict.fromkeys(places)),
        bundle=bundle,
        evidence=bundle.level(specific),
        unsure=said is Answer.NOT_SURE,
    )
