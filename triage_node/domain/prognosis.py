"""What a prognosis says, from what, and what it would still need."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClinicalFacts:
    """Facts that the image does not hold; None is "not known", never a default (PAPERS.md 5.11).

    Units: age in years, onset_to_ct in hours. `sources` maps a field to who said it ("DICOM header", "entered by ...").
    """

    age_years: int | None = None
    gcs: int | None = None
    onset_to_ct_h: float | None = None
    on_anticoagulant: bool | None = None
    cognitive_impairment_before: bool | None = None
    trauma: bool | None = None
    sources: tuple[tuple[str, str], ...] = ()


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
