"""The contracts of everything that says how a hemorrhage may turn out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from triage_node.domain.finding import BundleIdentity, Detection
from triage_node.domain.prognosis import ClinicalFacts, Prediction
from triage_node.domain.volume import Volume


class Predictor(Protocol):
    """Pure: the same detection and facts give the same prediction. What it was not made for, it abstains from, by name."""

    name: str
    label: str

    def predict(self, detection: Detection, facts: ClinicalFacts) -> Prediction:
        """Say what is known, what is missing and the interval that follows. Nothing is raised for odd facts."""


class ImagePredictor(Protocol):
    """A predictor that reads pixels, in two steps, so that facts that come later need neither pixels nor a new detection.

    `measure` runs once for a volume and its answer is stored as JSON; `predict` runs again whenever facts change, with the
    stored answer and a detection whose `mask` and `heat` are empty then (components, volumes and probabilities are kept).
    The caller has asked `envelope.refusal` before either. Both are pure; neither raises for odd facts.
    """

    name: str
    label: str
    identity: BundleIdentity

    def measure(self, volume: Volume, detection: Detection) -> dict[str, Any]:
        """What the pixels say: JSON values only (numbers, strings, lists, dictionaries)."""

    def predict(self, measured: Mapping[str, Any], detection: Detection, facts: ClinicalFacts) -> Prediction:
        """Value, interval, inputs used and missing, model and evidence level (fields of `Prediction`)."""


@runtime_checkable
class Salient(Protocol):
    """A predictor that can say where it looked."""

    name: str
    label: str
    identity: BundleIdentity

    def saliency(self, volume: Volume) -> dict[str, NDArray[np.float32]] | str:
        """Task -> map of 0..1 on the coarse picture (24, 96, 96) of expansion.picture_of; or in words why there is none."""
