"""Which published scores speak of a hemorrhage. Trained models come from bundles (processes/prognosis.py)."""

from __future__ import annotations

from triage_node.domain.finding import Detection
from triage_node.domain.prognosis import ClinicalFacts, Prediction
from triage_node.prognosis.bat import Bat
from triage_node.prognosis.brain import Brain
from triage_node.prognosis.func import Func
from triage_node.prognosis.ich_score import IchScore
from triage_node.prognosis.nag import Nag
from triage_node.prognosis.predictor import ImagePredictor, Predictor

PREDICTORS: tuple[Predictor, ...] = (IchScore(), Func(), Brain(), Nag())
WITH_PIXELS: tuple[ImagePredictor, ...] = (Bat(),)
"""Scores of signs that are read from the pixels."""


def predict(detection: Detection, facts: ClinicalFacts) -> tuple[Prediction, ...]:
    """One prediction of each predictor, abstentions with their reason included."""
    return tuple(p.predict(detection, facts) for p in PREDICTORS)
