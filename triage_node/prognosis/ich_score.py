"""The ICH score. Source: Hemphill 2001, Stroke 32:891, n = 152, as PAPERS.md 5.1 has it.

Copies on the web with other GCS cuts (3-5, 6-12) and with 94 % at 4 points are wrong; tests keep them out.
"""

from __future__ import annotations

from triage_node.domain.finding import Detection, Location
from triage_node.domain.prognosis import ClinicalFacts, Prediction, ScoreItem
from triage_node.prognosis import clinical

LABEL = "ICH score"
MORTALITY_PERCENT = (0, 13, 26, 72, 97, 100, 100)
"""30-day mortality at 0 to 6 points. Nobody in the cohort had 6: that one is estimated."""

LARGE_ML = 30.0
OLD_YEARS = 80


class IchScore:
    """Predictor: 0 to 6 points, more is worse."""

    name = "ich_score"
    label = LABEL

    def predict(self, detection: Detection, facts: ClinicalFacts) -> Prediction:
        if reason := clinical.abstention(detection, facts):
            return Prediction(self.name, LABEL, abstained=reason)
        items = _items(clinical.hematoma_of(detection), facts)
        low, high = clinical.score_range(items)
        mortality = (float(MORTALITY_PERCENT[low]), float(MORTALITY_PERCENT[high]))
        prediction = Prediction(
            name=self.name,
            label=LABEL,
            items=items,
            missing=tuple(i.name for i in items if not i.known),
            score_range=(low, high),
            columns=(("30-day mortality, 1997-98 cohort", *mortality, "%"),),
            source="Hemphill 2001, Stroke 32:891; 1997-98 cohort, n = 152"
            + ("; no patient had 6 points, 100 % is estimated" if high == 6 else ""),
        )
        return clinical.conditioned(prediction, facts)


def gcs_points(gcs: int) -> int:
    """3-4: 2, 5-12: 1, 13-15: 0."""
    return 2 if gcs <= 4 else 1 if gcs <= 12 else 0


def _items(bleed: clinical.Hematoma, facts: ClinicalFacts) -> tuple[ScoreItem, ...]:
    gcs, age = clinical.usable_gcs(facts), clinical.usable_age(facts)
    ml, by = bleed.volume_ml, bleed.measured_by
    begins = {int(place is Location.INFRATENTORIAL) for place in bleed.places}
    return (
        clinical.item(
            "GCS", clinical.entered(facts, "gcs", f"{gcs}"), (0, 1, 2) if gcs is None else (gcs_points(gcs),)
        ),
        clinical.item("hematoma volume", f"{ml} mL ({by})", (0, 1) if ml is None else (int(ml >= LARGE_ML),)),
        clinical.item(
            "extension into the ventricles",
            f"{'seen' if bleed.in_ventricles else 'not seen'} ({by})",
            (int(bleed.in_ventricles),),
        ),
        clinical.item("infratentorial origin", f"{'yes' if 1 in begins else 'no'} ({by})", begins),
        clinical.item(
            "age",
            clinical.entered(facts, "age_years", f"{age} years"),
            (0, 1) if age is None else (int(age >= OLD_YEARS),),
        ),
    )
