"""What a flag says to a radiologist. No percentages: a site that has not calibrated cannot know what 0.9 means there."""

from __future__ import annotations

import math

from triage_node.domain.finding import FINDINGS, FindingDecision, OperatingPoint

NOT_SURE = "not sure"
"""The third answer. It is none of the negatives."""


def flag_words(decision: FindingDecision) -> str:
    """Finding, volume and likelihood: "Suspected IPH, 34 mL, very likely". A volume that is no number is left out."""
    finding = FINDINGS.get(decision.finding, FINDINGS["ich"])
    words = [f"Suspected {finding.short}"]
    ml = decision.hematoma_volume_ml
    if math.isfinite(ml) and ml > 0:
        words.append(f"{ml:.0f} mL" if ml >= 1 else "under 1 mL")
    words.append(likelihood(decision.probability, decision.operating_point))
    return ", ".join(words)


def likelihood(probability: float, point: OperatingPoint) -> str:
    """The probability against its operating points: below raise, notify, and half of what is left above notify."""
    if not probability >= point.raise_probability:
        unsure = point.unsure_from is not None and probability >= point.unsure_from
        return NOT_SURE if unsure else "not raised"
    if probability < point.notify_probability:
        return "possible"
    return "likely" if probability < (1 + point.notify_probability) / 2 else "very likely"
