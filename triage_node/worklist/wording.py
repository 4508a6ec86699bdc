"""What a flag says to a radiologist. Percentages only where this site has found them calibrated: else nobody can know what 0.9
means there (store/evaluations.py)."""

from __future__ import annotations

import math

from triage_node.domain.finding import FINDINGS, FindingDecision, OperatingPoint

NOT_SURE = "not sure"
"""The third answer. It is none of the negatives."""


def flag_words(decision: FindingDecision, calibrated: bool = False) -> str:
    """Finding, volume and likelihood: "Suspected IPH, 34 mL, very likely", or "93 %" where that is `calibrated`.

    What was calibrated is "any bleed": another finding that decides keeps its words. A volume that is no number is left out.
    """
    finding = FINDINGS.get(decision.finding, FINDINGS["ich"])
    words = [f"Suspected {finding.short}"]
    ml = decision.hematoma_volume_ml
    if math.isfinite(ml) and ml > 0:
        words.append(f"{ml:.0f} mL" if ml >= 1 else "under 1 mL")
    point = decision.operating_point
    says_percent = calibrated and point.finding == "ich" and math.isfinite(decision.probability)
    words.append(percent(decision.probability) if says_percent else likelihood(decision.probability, point))
    return ", ".join(words)


def percent(probability: float) -> str:
    """Whole percents, never 0 or 100: no model is sure."""
    if probability < 0.01:
        return "under 1 %"
    return "over 99 %" if probability > 0.99 else f"{probability * 100:.0f} %"


def likelihood(probability: float, point: OperatingPoint) -> str:
    """The probability against its operating points: below raise, notify, and half of what is left above notify."""
    if not probability >= point.raise_probability:
        unsure = point.unsure_from is not None and probability >= point.unsure_from
        return NOT_SURE if unsure else "not raised"
    if probability < point.notify_probability:
        return "possible"
    return "likely" if probability < (1 + point.notify_probability) / 2 else "very likely"
