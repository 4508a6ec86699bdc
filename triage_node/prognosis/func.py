"""The FUNC score. Source: Rost 2008, Stroke 39:2304, n = 629, as PAPERS.md 5.3 has it.

Popular calculators show the figures of survivors without saying so, others mix both columns; here both stand, labelled.
"""

from __future__ import annotations

from triage_node.domain.finding import Detection, Location
from triage_node.domain.prognosis import ClinicalFacts, Prediction, ScoreItem
from triage_node.prognosis import clinical

LABEL = "FUNC score"
WHOLE_COHORT_PERCENT = (0, 0, 0, 0, 0, 13, 13, 13, 42, 66, 66, 82)
SURVIVORS_ONLY_PERCENT = (0, 0, 0, 0, 0, 29, 29, 29, 48, 75, 75, 95)
"""Functional independence (GOS 4 or more) at 90 days, by 0 to 11 points."""

PLACE_POINTS = {Location.LOBAR: 2, Location.DEEP: 1, Location.INFRATENTORIAL: 0}


class Func:
    """Predictor: 0 to 11 points, more is better."""

    name = "func"
    label = LABEL

    def predict(self, detection: Detection, facts: ClinicalFacts) -> Prediction:
        if reason := clinical.abstention(detection, facts):
            return Prediction(self.name, LABEL, abstained=reason)
        items = _items(clinical.hematoma_of(detection), facts)
        low, high = clinical.score_range(items)
        prediction = Prediction(
            name=self.name,
            label=LABEL,
            items=items,
            missing=tuple(i.name for i in items if not i.known),
            score_range=(low, high),
            columns=tuple(
                (f"Independent at 90 days, {group}", float(percent[low]), float(percent[high]), "%")
                for group, percent in (
                    ("whole cohort", WHOLE_COHORT_PERCENT),
                    ("survivors only", SURVIVORS_ONLY_PERCENT),
                )
            ),
            source="Rost 2008, Stroke 39:2304; cohort published 2008, n = 629",
        )
        return clinical.conditioned(prediction, facts)


def volume_points(ml: float) -> int:
    """Under 30 mL: 4, 30 to 60: 2, over 60: 0."""
    return 4 if ml < 30 else 2 if ml <= 60 else 0


def age_points(years: int) -> int:
    """Under 70: 2, 70 to 79: 1, 80 or more: 0."""
    return 2 if years < 70 else 1 if years < 80 else 0


def gcs_points(gcs: int) -> int:
    """9 or more: 2, 8 or less: 0."""
    return 2 if gcs >= 9 else 0


def _items(bleed: clinical.Hematoma, facts: ClinicalFacts) -> tuple[ScoreItem, ...]:
    gcs, age = clinical.usable_gcs(facts), clinical.usable_age(facts)
    ml, by, impaired = bleed.volume_ml, bleed.measured_by, facts.cognitive_impairment_before
    places = " or ".join(sorted(p.value for p in bleed.places))
    return (
        clinical.item("hematoma volume", f"{ml} mL ({by})", (0, 2, 4) if ml is None else (volume_points(ml),)),
        clinical.item(
            "age",
            clinical.entered(facts, "age_years", f"{age} years"),
            (0, 1, 2) if age is None else (age_points(age),),
        ),
        clinical.item("location", f"{places} ({by})", (PLACE_POINTS[p] for p in bleed.places)),
        clinical.item("GCS", clinical.entered(facts, "gcs", f"{gcs}"), (0, 2) if gcs is None else (gcs_points(gcs),)),
        clinical.item(
            "cognitive impairment before",
            clinical.entered(facts, "cognitive_impairment_before", "yes" if impaired else "no"),
            (0, 1) if impaired is None else (int(not impaired),),
        ),
    )
