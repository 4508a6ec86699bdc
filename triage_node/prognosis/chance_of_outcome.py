"""The chance of a poor outcome from an image score, age and GCS: one logistic regression, and what is missing left open.

The regression is fitted by a bundle's evaluate.py on patients that the network has not seen, and stored as JSON. A fact that
is not known is averaged over the values it has in the cohort; the interval spans them and the error of the fit (95 %, from the
covariance of the coefficients). It does not hold what no fact and no picture can tell: a chance is no forecast of one patient.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from triage_node.domain.errors import ManifestInvalid
from triage_node.domain.prognosis import ClinicalFacts, Estimate
from triage_node.prognosis import clinical
from triage_node.prognosis.expansion import Logistic

MODEL_FILE = "configs/outcome.json"
FACTS = ("age_years", "gcs")
VARIABLES = ("image", *FACTS)
SHOWN = {"image": "image score", "age_years": "age", "gcs": "GCS"}
YOUNGEST, OLDEST = 18, 100
"""Ages of the cohort."""
WIDEST = 0.6
"""An interval wider than this says nothing."""
LABEL = "Not independent at 90 days"
INTERVAL = "95 % from the fit; a fact that is not known spans the cohort's values"


@dataclass(frozen=True)
class Chance:
    """Probabilities; `missing`: the facts that were averaged over."""

    value: float
    low: float
    high: float
    missing: tuple[str, ...]


@dataclass(frozen=True)
class OutcomeModel:
    """`scale`: variable -> (mean, deviation); `choices`: fact -> values, as likely as one another, when it is not known."""

    logistic: Logistic
    scale: Mapping[str, tuple[float, float]]
    choices: Mapping[str, tuple[float, ...]]

    @classmethod
    def from_json(cls, text: bytes) -> OutcomeModel:
        """Raises: ManifestInvalid for anything but what evaluate.py writes."""
        try:
            j = json.loads(text)
            fit = Logistic(
                tuple(j["names"]), float(j["intercept"]), tuple(float(c) for c in j["coefficients"]),
                tuple(tuple(float(c) for c in row) for row in j["covariance"]),
            )  # fmt: skip
            model = cls(
                fit,
                {k: (float(m), float(s)) for k, (m, s) in j["scale"].items()},
                {k: tuple(float(v) for v in j["choices"][k]) for k in FACTS},
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ManifestInvalid(f"{MODEL_FILE}: {type(error).__name__}: {error}") from error
        model._check()
        return model

    def _check(self) -> None:
        n = len(VARIABLES)
        numbers = [self.logistic.intercept, *self.logistic.coefficients]
        numbers += [c for row in self.logistic.covariance for c in row]
        numbers += [v for pair in self.scale.values() for v in pair]
        numbers += [v for values in self.choices.values() for v in values]
        if self.logistic.names != VARIABLES or set(self.scale) != set(VARIABLES):
            raise ManifestInvalid(f"{MODEL_FILE}: its variables must be {', '.join(VARIABLES)}")
        if len(self.logistic.coefficients) != n or [len(r) for r in self.logistic.covariance] != [n + 1] * (n + 1):
            raise ManifestInvalid(f"{MODEL_FILE}: coefficients and covariance do not fit the variables")
        if not all(map(math.isfinite, numbers)) or not all(self.choices.values()):
            raise ManifestInvalid(f"{MODEL_FILE}: numbers are missing or not finite")
        if any(s <= 0 for _, s in self.scale.values()):
            raise ManifestInvalid(f"{MODEL_FILE}: a deviation must be positive")

    def chance(self, image: float, facts: ClinicalFacts) -> Chance:
        """`image`: the network's logit."""
        known = {"age_years": clinical.usable_age(facts), "gcs": clinical.usable_gcs(facts)}
        options = [(image,), *((float(v),) if (v := known[f]) is not None else self.choices[f] for f in FACTS)]
        mean = np.array([self.scale[v][0] for v in VARIABLES])
        deviation = np.array([self.scale[v][1] for v in VARIABLES])
        at = (np.array(list(itertools.product(*options)), np.float64) - mean) / deviation
        logit, error = self.logistic.logit(at), 1.96 * self.logistic.deviation(at)
        missing = tuple(SHOWN[f] for f in FACTS if known[f] is None)
        return Chance(
            float(_sigmoid(logit).mean()),
            float(_sigmoid(logit - error).min()),
            float(_sigmoid(logit + error).max()),
            missing,
        )


def estimate(chance: Chance) -> Estimate:
    percent = [round(100 * p, 1) for p in (chance.value, chance.low, chance.high)]
    return Estimate(f"{LABEL} ({INTERVAL})", *percent, "%")


def refusal(facts: ClinicalFacts) -> str:
    """Why no chance may be shown although the scan lies in the envelope; empty when it may."""
    age = clinical.usable_age(facts)
    if age is not None and not YOUNGEST <= age <= OLDEST:
        return f"age: only for {YOUNGEST} to {OLDEST} years"
    return ""


def too_open(chance: Chance) -> str:
    """Why a chance says too little to be shown; empty when it says something."""
    if chance.high - chance.low <= WIDEST:
        return ""
    if chance.missing:
        return f"{clinical.NOT_COMPUTABLE}: without {' and '.join(chance.missing)} too much is possible"
    return f"{clinical.NOT_COMPUTABLE}: this patient is unlike those of the training"


def used(image: float, facts: ClinicalFacts) -> tuple[tuple[str, str], ...]:
    """(input, value with who said it) of what was known."""
    said = [(SHOWN["image"], f"{image:.2f}")]
    if (age := clinical.usable_age(facts)) is not None:
        said.append((SHOWN["age_years"], clinical.entered(facts, "age_years", f"{age} years")))
    if (gcs := clinical.usable_gcs(facts)) is not None:
        said.append((SHOWN["gcs"], clinical.entered(facts, "gcs", f"{gcs}")))
    return tuple(said)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))
