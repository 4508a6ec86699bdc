"""What a prognosis says, from what, and what it would still need."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClinicalFacts:
    """Facts that the image does not hold; None is "not known", never a default (PAPERS.md 5.11).

    Units: age in years, onset_to_ct in hours, glucose in mg/dL, systolic pressure in mmHg. `sex`: "M", "F" or "O" as in
    Patient's Sex (0010,0040). `sources` maps a field to who said it ("DICOM header", "entered by ...").
    """

    age_years: int | None = None
    gcs: int | None = None
    onset_to_ct_h: float | None = None
    on_anticoagulant: bool | None = None
    cognitive_impairment_before: bool | None = None
    trauma: bool | None = None
    sources: tuple[tuple[str, str], ...] = ()
    sex: str | None = None
    nihss: int | None = None
    on_antiplatelet: bool | None = None
    on_warfarin: bool | None = None
    glucose_mg_dl: float | None = None
    systolic_mmhg: int | None = None
    recurrent_ich: bool | None = None
    after_surgery: bool | None = None


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What the input envelope of a prognosis asks of the images.

    Units: mm. `thickness_mm` is the thickest slice, `step_mm` the widest distance of neighbours, `coverage_mm` the extent along
    the normal. `contrast` and `not_a_head` hold the reason in words, empty when there is none.
    """

    slices: int
    thickness_mm: float
    step_mm: float
    coverage_mm: float
    contrast: str = ""
    not_a_head: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One figure of a model with its interval, in `unit`. The interval covers what is missing as well."""

    label: str
    value: float
    low: float
    high: float
    unit: str


@dataclass(frozen=True, slots=True)
class ScoreItem:
    """One line of a score: points when the input is known, else the range that it could add."""

    name: str
    known: bool
    value: str
    points: int | None
    points_range: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Prediction:
    """A score or a model's output with the interval that follows from what is missing.

    `score_range` is (lowest, highest) reachable with the known items; `columns` are labelled figures for that range,
    each (label, low, high, unit). `abstained` holds the reason when nothing is shown.

    A model fills `estimates` instead, and says what it used as (input, value with who said it), which model it is and the
    evidence level of its output. `warnings`: what a reader must know of this very figure.
    """

    name: str
    label: str
    abstained: str = ""
    items: tuple[ScoreItem, ...] = ()
    missing: tuple[str, ...] = ()
    score_range: tuple[int, int] | None = None
    columns: tuple[tuple[str, float, float, str], ...] = ()
    source: str = ""
    caution: str = "Describes a historic group of patients. Never a reason to limit care."
    estimates: tuple[Estimate, ...] = ()
    used: tuple[tuple[str, str], ...] = ()
    model: str = ""
    evidence: str = ""
    warnings: tuple[str, ...] = ()
