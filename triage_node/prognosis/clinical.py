"""From a detection and clinical facts to the inputs of clinical scores: the group they hold for, and their items.

An input is known or it is not; nothing is filled in (PAPERS.md 5.11). A value that no patient can have counts as not known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from triage_node.domain.clinical import EARLIEST_ONSET
from triage_node.domain.finding import FINDINGS, Component, Detection, Location
from triage_node.domain.prognosis import ClinicalFacts, Prediction, ScoreItem
from triage_node.prognosis import envelope

PLACES = frozenset({Location.LOBAR, Location.DEEP, Location.INFRATENTORIAL})
"""Where a parenchymal bleed can begin."""

SHARE_OF_LARGEST = 1 / 3
"""Smaller pieces say nothing of where the bleeding began: they are spread or noise of the mask."""

NOT_COMPUTABLE = "not computable"
LONGEST_H = EARLIEST_ONSET.total_seconds() / 3600
TRAUMA_OPEN = "Holds only for a spontaneous hemorrhage: trauma is not ruled out."


@dataclass(frozen=True, slots=True)
class Hematoma:
    """What was measured of the parenchymal bleed. `volume_ml` None: not measured; rounded to the 0.1 mL that is shown.

    `places` holds every place where it may have begun; one place means that it is known.
    """

    volume_ml: float | None
    places: frozenset[Location]
    in_ventricles: bool
    measured_by: str


def hematoma_of(detection: Detection) -> Hematoma:
    """Sum the parenchymal pieces; the larger ones tell the place, all places if they disagree or one does not know."""
    pieces = _of_kind(detection, "iph")
    volume = sum(c.volume_ml for c in pieces)
    usable = all(math.isfinite(c.volume_ml) and c.volume_ml >= 0 for c in pieces) and volume > 0
    largest = max((c.volume_ml for c in pieces), default=0.0) if usable else 0.0
    places = frozenset(c.location for c in pieces if c.volume_ml >= largest * SHARE_OF_LARGEST)
    bundle = detection.bundle
    return Hematoma(
        # results keep two digits: the same figure when a prognosis is made again from one
        volume_ml=round(round(float(volume), 2), 1) if usable else None,
        places=places if usable and places <= PLACES else PLACES,
        in_ventricles=bool(_of_kind(detection, "ivh")),
        measured_by=f"{bundle.name} {bundle.version}, {bundle.level('iph').value}",
    )


def abstention(detection: Detection, facts: ClinicalFacts) -> str:
    """Why scores of spontaneous parenchymal hemorrhage say nothing of this patient; empty when they may."""
    if not detection.components:
        return "no hemorrhage was measured"
    if reason := envelope.refusal(facts):
        return reason
    if facts.trauma:
        return "trauma: only for spontaneous hemorrhage"
    for kind in ("sdh", "edh"):
        if _of_kind(detection, kind):
            return f"{FINDINGS[kind].name}: only for spontaneous parenchymal hemorrhage"
    if not _of_kind(detection, "iph"):
        kinds = [f.name for f in FINDINGS.values() if _of_kind(detection, f.key)]
        what = " and ".join(kinds) or "hemorrhage of unknown kind"
        return f"isolated {what}: only for parenchymal hemorrhage"
    return ""


def usable_age(facts: ClinicalFacts) -> int | None:
    return _within(facts.age_years, 0, envelope.OLDEST_YEARS)


def usable_gcs(facts: ClinicalFacts) -> int | None:
    """Glasgow Coma Scale, 3 to 15."""
    return _within(facts.gcs, 3, 15)


def usable_hours(facts: ClinicalFacts) -> float | None:
    """Hours from onset to CT; as long as an onset may lie back (domain/clinical.py)."""
    hours = facts.onset_to_ct_h
    usable = isinstance(hours, int | float) and not isinstance(hours, bool) and 0 <= hours <= LONGEST_H
    return float(hours) if usable and hours is not None else None


def usable_nihss(facts: ClinicalFacts) -> int | None:
    """National Institutes of Health Stroke Scale, 0 to 42."""
    return _within(facts.nihss, 0, 42)


def usable_glucose(facts: ClinicalFacts) -> float | None:
    """mg/dL; a value under 20 was given in mmol/L and is not guessed at."""
    glucose = facts.glucose_mg_dl
    usable = isinstance(glucose, int | float) and not isinstance(glucose, bool) and 20 <= glucose <= 2000
    return float(glucose) if usable and glucose is not None else None


def usable_pressure(facts: ClinicalFacts) -> int | None:
    """Systolic, mmHg."""
    return _within(facts.systolic_mmhg, 40, 350)


def usable_warfarin(facts: ClinicalFacts) -> bool | None:
    """Who takes no anticoagulant takes no warfarin."""
    return False if facts.on_warfarin is None and facts.on_anticoagulant is False else facts.on_warfarin


def entered(facts: ClinicalFacts, field: str, value: str) -> str:
    """The value with who said it."""
    return f"{value} ({dict(facts.sources).get(field, 'source not stated')})"


def item(name: str, value: str, points: Iterable[int]) -> ScoreItem:
    """One line of a score. `points`: every number of points that the known facts allow; one means that it is known."""
    possible = sorted(set(points))
    known = len(possible) == 1
    return ScoreItem(
        name=name,
        known=known,
        value=value if known else NOT_COMPUTABLE,
        points=possible[0] if known else None,
        points_range=(possible[0], possible[-1]),
    )


def score_range(items: Iterable[ScoreItem]) -> tuple[int, int]:
    """Lowest and highest score that the known items leave open."""
    ranges = [i.points_range for i in items]
    return sum(low for low, _ in ranges), sum(high for _, high in ranges)


def complete_score(name: str, label: str, items: tuple[ScoreItem, ...], source: str) -> Prediction:
    """A score that is shown with every input known, else not computable, by the names of what is missing."""
    missing = tuple(i.name for i in items if not i.known)
    low, high = score_range(items)
    return Prediction(
        name=name,
        label=label,
        abstained=f"{NOT_COMPUTABLE}: {', '.join(missing)} not known" if missing else "",
        items=items,
        missing=missing,
        score_range=None if missing else (low, high),
        source=source,
    )


def with_columns(
    prediction: Prediction, columns: tuple[tuple[str, float, float, str], ...], warnings: tuple[str, ...] = ()
) -> Prediction:
    return replace(prediction, columns=columns, warnings=(*prediction.warnings, *warnings))


def conditioned(prediction: Prediction, facts: ClinicalFacts) -> Prediction:
    """The prediction with the condition that nobody has confirmed before its caution."""
    if facts.trauma is False:
        return prediction
    return replace(prediction, caution=f"{TRAUMA_OPEN} {prediction.caution}")


def _of_kind(detection: Detection, kind: str) -> list[Component]:
    return [c for c in detection.components if c.subtype == kind]


def _within(value: object, low: int, high: int) -> int | None:
    return value if isinstance(value, int) and low <= value <= high else None
