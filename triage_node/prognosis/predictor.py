"""The contract of everything that says how a hemorrhage may turn out."""

from __future__ import annotations

from typing import Protocol

from triage_node.domain.finding import Detection
from triage_node.domain.prognosis import ClinicalFacts, Prediction


class Predictor(Protocol):
    """Pure: the same detection and facts give the same prediction. What it was not made for, it abstains from, by name."""

    name: str

    def predict(self, detection: Detection, facts: ClinicalFacts) -> Prediction:
        """Say what is known, what is missing and the interval that follows. Nothing is raised for odd facts."""
