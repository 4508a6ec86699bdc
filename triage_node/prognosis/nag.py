"""The NAG score of hematoma expansion. Source: Sakuma 2018, JSCD 27:2606, n = 118, as PAPERS.md 5.6 has it."""

from __future__ import annotations

from triage_node.domain.finding import Detection
from triage_node.domain.prognosis import ClinicalFacts, Prediction, ScoreItem
from triage_node.prognosis import clinical

LABEL = "NAG score"
EXPANSION_PERCENT = (4, 25, 60, 100)
"""By 0 to 3 points, in 118 patients of whom 30 expanded."""
NIHSS_FROM, GLUCOSE_FROM_MG_DL = 10, 133


class Nag:
    """Predictor: 0 to 3 points, more is worse. Shown only when every input is known."""

    name = "nag"
    label = LABEL

    def predict(self, detection: Detection, facts: ClinicalFacts) -> Prediction:
        if reason := clinical.abstention(detection, facts):
            return Prediction(self.name, LABEL, abstained=reason)
        prediction = clinical.complete_score(
            self.name, LABEL, _items(facts), "Sakuma 2018, J Stroke Cerebrovasc Dis 27:2606; n = 118, 30 expanded"
        )
        if prediction.score_range is not None:
            score = prediction.score_range[0]
            percent = float(EXPANSION_PERCENT[score])
            column = ("Growth by more than 33 % or 6 mL", percent, percent, "%")
            few = ("3 points rest on very few patients.",) if score == 3 else ()
            prediction = clinical.with_columns(prediction, (column,), few)
        return clinical.conditioned(prediction, facts)


def _items(facts: ClinicalFacts) -> tuple[ScoreItem, ...]:
    nihss, glucose, anticoagulant = clinical.usable_nihss(facts), clinical.usable_glucose(facts), facts.on_anticoagulant
    return (
        clinical.item(
            "NIHSS",
            clinical.entered(facts, "nihss", f"{nihss}"),
            (0, 1) if nihss is None else (int(nihss >= NIHSS_FROM),),
        ),
        clinical.item(
            "anticoagulant",
            clinical.entered(facts, "on_anticoagulant", "yes" if anticoagulant else "no"),
            (0, 1) if anticoagulant is None else (int(anticoagulant),),
        ),
        clinical.item(
            "glucose",
            clinical.entered(facts, "glucose_mg_dl", f"{glucose} mg/dL"),
            (0, 1) if glucose is None else (int(glucose >= GLUCOSE_FROM_MG_DL),),
        ),
    )
