"""The BRAIN score of hematoma expansion. Source: Wang 2015, Stroke 46:376, as PAPERS.md 5.5 has it.

The probability is the score's logistic, checked against the published table of 25 rates. A web page that gives raw
coefficients has those of the two volume classes swapped; a test keeps that copy out.
"""

from __future__ import annotations

import math

from triage_node.domain.finding import Detection
from triage_node.domain.prognosis import ClinicalFacts, Prediction, ScoreItem
from triage_node.prognosis import clinical

LABEL = "BRAIN score"
INTERCEPT, SLOPE = -3.3435, 0.21421
HIGHEST = 24


class Brain:
    """Predictor: 0 to 24 points, more is worse. Shown only when every input is known."""

    name = "brain"
    label = LABEL

    def predict(self, detection: Detection, facts: ClinicalFacts) -> Prediction:
        if reason := clinical.abstention(detection, facts):
            return Prediction(self.name, LABEL, abstained=reason)
        items = _items(clinical.hematoma_of(detection), facts)
        prediction = clinical.complete_score(
            self.name, LABEL, items, "Wang 2015, Stroke 46:376; INTERACT2, n = 964, scans within 6 h of onset"
        )
        if prediction.score_range is not None:
            percent = 100 * expansion_probability(prediction.score_range[0])
            column = ("Growth by 6 mL or more within 24 h", percent, percent, "%")
            prediction = clinical.with_columns(prediction, (column,))
        return clinical.conditioned(prediction, facts)


def expansion_probability(score: int) -> float:
    """Growth by 6 mL or more at 24 h. Raises: ValueError outside 0 to 24."""
    if not 0 <= score <= HIGHEST:
        raise ValueError(f"a BRAIN score is 0 to {HIGHEST}, got {score}")
    return 1 / (1 + math.exp(-(INTERCEPT + SLOPE * score)))


def volume_points(ml: float) -> int:
    """Up to 10 mL: 0, up to 20: 5, more: 7."""
    return 0 if ml <= 10 else 5 if ml <= 20 else 7


def hours_points(hours: float) -> int:
    """Hours from onset to CT: up to 1: 5, then one less an hour, more than 5: 0."""
    return max(0, 6 - max(1, math.ceil(hours)))


def _items(bleed: clinical.Hematoma, facts: ClinicalFacts) -> tuple[ScoreItem, ...]:
    ml, by = bleed.volume_ml, bleed.measured_by
    again, warfarin, hours = facts.recurrent_ich, clinical.usable_warfarin(facts), clinical.usable_hours(facts)
    said_by = "on_warfarin" if facts.on_warfarin is not None else "on_anticoagulant"
    return (
        clinical.item("hematoma volume", f"{ml} mL ({by})", (0, 5, 7) if ml is None else (volume_points(ml),)),
        clinical.item(
            "recurrent ICH",
            clinical.entered(facts, "recurrent_ich", "yes" if again else "no"),
            (0, 4) if again is None else (4 * again,),
        ),
        clinical.item(
            "warfarin",
            clinical.entered(facts, said_by, "yes" if warfarin else "no"),
            (0, 6) if warfarin is None else (6 * warfarin,),
        ),
        clinical.item(
            "extension into the ventricles",
            f"{'seen' if bleed.in_ventricles else 'not seen'} ({by})",
            (2 * bleed.in_ventricles,),
        ),
        clinical.item(
            "hours from onset to CT",
            clinical.entered(facts, "onset_to_ct_h", f"{hours:.1f} h" if hours is not None else ""),
            range(6) if hours is None else (hours_points(hours),),
        ),
    )
