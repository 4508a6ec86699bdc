"""What a model answered, held against what is known. One record for a slice, one for a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Scored:
    """One slice or one study.

    truth: hemorrhage or not, by the data set's own label; answers without a label are no Scored. probability: what the
    operating points compare with. patient: whom the bootstrap draws.
    Units: volume_ml and predicted_ml mL, area_mm2 of the labelled blood in this slice, step_mm between slices.
    None and "" mean that the data set does not say.
    """

    key: str
    patient: str
    truth: bool
    probability: float
    subtypes: tuple[str, ...] = ()
    subtype_probabilities: dict[str, float] = field(default_factory=dict)
    volume_ml: float | None = None
    predicted_ml: float | None = None
    dice: float | None = None
    area_mm2: float | None = None
    step_mm: float | None = None
    scanner: str = ""
    kernel: str = ""
    software: str = ""
    age_years: float | None = None
    sex: str = ""
    origin: str = ""
    declined: str = ""
    """Why the node would not analyse this study, in its own words; the figures count it, and say so apart."""
    mask_is_silver: bool = False
    picture: bool = False
    """Scored from 8-bit grey levels: no Hounsfield units were known."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The same as columns. Shape: each (n,). `patients` are numbers 0 to n_patients - 1."""

    truth: NDArray[np.bool_]
    probability: NDArray[np.float64]
    patients: NDArray[np.intp]

    @property
    def n(self) -> int:
        return len(self.truth)

    @property
    def positives(self) -> int:
        return int(self.truth.sum())

    @property
    def n_patients(self) -> int:
        return int(self.patients.max()) + 1 if len(self.patients) else 0

    @property
    def both_classes(self) -> bool:
        return 0 < self.positives < self.n


def answers(scored: Sequence[Scored]) -> Answers:
    """Columns of some records; patients are numbered afresh."""
    numbers: dict[str, int] = {}
    patients = [numbers.setdefault(s.patient, len(numbers)) for s in scored]
    return Answers(
        np.array([s.truth for s in scored], bool),
        np.array([s.probability for s in scored], np.float64),
        np.array(patients, np.intp),
    )
