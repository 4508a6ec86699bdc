"""From a probability to a decision: pure, so that a decision can be repeated from what was stored."""

from __future__ import annotations

from triage_node.domain.finding import (
    FINDINGS,
    Detection,
    EvidenceLevel,
    FindingDecision,
    Location,
    OperatingPoint,
)


def decide(detection: Detection, operating_point: OperatingPoint, least_level: EvidenceLevel) -> FindingDecision:
    """Flagged from `raise_probability` on, unsure from `unsure_from` to there. Raises: ValueError for an unknown finding.

    A more specific name, subtypes, locations and the volume count only when the output they come from has `least_level`
    (DESIGN.md section 4): a subtype by its own level, place and volume by the level of the finding itself. Otherwise the
    decision says no more than the finding of the operating point.
    """
    finding = operating_point.finding
    if finding not in FINDINGS:
        raise ValueError(f"no such finding: {finding!r}")
    bundle = detection.bundle
    known = bundle.level(finding) >= least_level
    flagged = detection.study_probability >= operating_point.raise_probability
    unsure_from = operating_point.unsure_from
    unsure = not flagged and unsure_from is not None and detection.study_probability >= unsure_from
    largest = sorted(detection.components, key=lambda c: c.volume_ml, reverse=True)
    named = [c for c in largest if flagged and known and bundle.level(c.subtype) >= least_level]
    subtypes = tuple(dict.fromkeys(c.subtype for c in named))
    places = (c.location for c in largest if flagged and known and c.location is not Location.UNKNOWN)
    specific = subtypes[0] if subtypes and FINDINGS[subtypes[0]].parent == finding else finding
    return FindingDecision(
        flagged=flagged,
        finding=specific,
        probability=detection.study_probability,
        operating_point=operating_point,
        hematoma_volume_ml=detection.hematoma_volume_ml if known else 0.0,
        subtypes=subtypes,
        locations=tuple(dict.fromkeys(places)),
        bundle=bundle,
        evidence=bundle.level(specific),
        unsure=unsure,
    )
