"""Which predictors speak of a hemorrhage. The learned ones come here too."""

from __future__ import annotations

from triage_node.domain.finding import Detection
from triage_node.domain.prognosis import ClinicalFacts, Prediction
from triage_node.prognosis.func import Func
from triage_node.prognosis.ich_score import IchScore
from triage_node.prognosis.predictor import Predictor

PREDICTORS: tuple[Predictor, ...] = (IchScore(), Func())


def predict(detection: Detection, facts: ClinicalFacts) -> tuple[Prediction, ...]:
    """One prediction of each predictor, abstentions with their reason included."""
    return tuple(p.predict(detection, facts) for p in PREDICTORS)
