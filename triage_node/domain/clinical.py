"""What people state of a patient, held against what is possible, and what of it counts as known.

A statement is a whole revision: who states something states everything that is known, and a field left out is not known.
Nothing is filled in and nothing is corrected (PAPERS.md 5.11).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta

from triage_node.domain.prognosis import ClinicalFacts

RANGES: dict[str, tuple[float, float, str]] = {
    "age_years": (0, 120, "years"),
    "gcs": (3, 15, ""),
    "gcs_eye": (1, 4, ""),
    "gcs_verbal": (1, 5, ""),
    "gcs_motor": (1, 6, ""),
    "nihss": (0, 42, ""),
    "glucose_mg_dl": (20, 2000, "mg/dL"),
    "systolic_mmhg": (40, 350, "mmHg"),
}
"""Field -> (least, most, unit) that a living patient can have; GCS after Teasdale 1974, NIHSS sum of its items."""

NAMES = {
    "age_years": "age",
    "gcs": "GCS",
    "gcs_eye": "GCS eye",
    "gcs_verbal": "GCS verbal",
    "gcs_motor": "GCS motor",
    "nihss": "NIHSS",
    "onset_at": "onset",
    "onset_unknown": "onset not known",
    "on_anticoagulant": "anticoagulant",
    "on_warfarin": "warfarin",
    "on_antiplatelet": "antiplatelet",
    "glucose_mg_dl": "glucose",
    "systolic_mmhg": "systolic pressure",
    "recurrent_ich": "intracranial hemorrhage before",
    "cognitive_impairment_before": "cognitive impairment before",
    "after_surgery": "after surgery of the head",
    "trauma": "trauma",
}
MG_DL_PER_MMOL_L = 18.016
"""Glucose, 180.16 g/mol."""
EARLIEST_ONSET = timedelta(days=30)
CLOCK_TOLERANCE = timedelta(minutes=5)
AGE_TOLERANCE_YEARS = 2


@dataclass(frozen=True, slots=True)
class ClinicalEntry:
    """One statement. Instants are aware; None is "not known". `onset_unknown`: somebody asked, and nobody knows."""

    age_years: int | None = None
    gcs: int | None = None
    gcs_eye: int | None = None
    gcs_verbal: int | None = None
    gcs_motor: int | None = None
    nihss: int | None = None
    onset_at: datetime | None = None
    onset_unknown: bool = False
    on_anticoagulant: bool | None = None
    on_warfarin: bool | None = None
    on_antiplatelet: bool | None = None
    glucose_mg_dl: float | None = None
    systolic_mmhg: int | None = None
    recurrent_ich: bool | None = None
    cognitive_impairment_before: bool | None = None
    after_surgery: bool | None = None
    trauma: bool | None = None

    def completed(self) -> ClinicalEntry:
        """With the GCS as the sum of its parts, and with what warfarin implies: it is an anticoagulant."""
        parts = (self.gcs_eye, self.gcs_verbal, self.gcs_motor)
        gcs = sum(p for p in parts if p is not None) if self.gcs is None and None not in parts else self.gcs
        anticoagulant = True if self.on_warfarin and self.on_anticoagulant is None else self.on_anticoagulant
        return replace(self, gcs=gcs, on_anticoagulant=anticoagulant)


@dataclass(frozen=True, slots=True)
class ClinicalRevision:
    """A statement as it is kept: never changed, followed by the next. `by` is a name that the person gave.

    `patient_digest` names the patient whom the study belonged to then; a statement does not follow a study to another one.
    """

    study_instance_uid: str
    revision: int
    at: datetime
    by: str
    via: str
    patient_digest: str
    entry: ClinicalEntry


def problems(
    entry: ClinicalEntry, at: datetime, scanned_at: datetime | None = None, age_years: int | None = None
) -> tuple[str, ...]:
    """Why a statement cannot be true, each a sentence for whoever made it; empty when it can.

    `at` is now, `scanned_at` when the study was acquired and `age_years` what its header says, where known.
    """
    found = [_out_of_range(name, getattr(entry, name)) for name in RANGES]
    parts = (entry.gcs_eye, entry.gcs_verbal, entry.gcs_motor)
    stated = [p for p in parts if p is not None]
    if 0 < len(stated) < 3:
        found.append("GCS: give eye, verbal and motor, or the total alone.")
    if len(stated) == 3 and entry.gcs is not None and sum(stated) != entry.gcs:
        found.append(f"GCS: eye, verbal and motor add up to {sum(stated)}, not to {entry.gcs}.")
    if entry.on_warfarin and entry.on_anticoagulant is False:
        found.append("Warfarin is an anticoagulant: both cannot hold.")
    if entry.onset_at is not None:
        found.append(_onset_problem(entry.onset_at, entry.onset_unknown, at, scanned_at))
    if entry.age_years is not None and age_years is not None and abs(entry.age_years - age_years) > AGE_TOLERANCE_YEARS:
        found.append(f"Age: the images say {age_years} years. Is it this patient?")
    return tuple(p for p in found if p)


def merged(headers: ClinicalFacts, stated: ClinicalRevision | None, scanned_at: datetime | None) -> ClinicalFacts:
    """What is known of a patient: the headers' facts, and those that a person stated. The header's age goes first."""
    if stated is None:
        return headers
    entry = stated.entry.completed()
    by = f"entered by {stated.by}, {stated.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    hours = None
    if entry.onset_at is not None and scanned_at is not None and entry.onset_at <= scanned_at + CLOCK_TOLERANCE:
        hours = max((scanned_at - entry.onset_at).total_seconds() / 3600, 0.0)
    values = {
        f.name: getattr(entry, f.name)
        for f in fields(ClinicalFacts)
        if hasattr(entry, f.name) and getattr(entry, f.name) is not None
    }
    if headers.age_years is not None:
        values.pop("age_years", None)
    if hours is not None:
        values["onset_to_ct_h"] = hours
    sources = tuple((name, by) for name in values)
    return replace(headers, **values, sources=(*headers.sources, *sources))


def digest(facts: ClinicalFacts) -> str:
    """What a prognosis was made from, with who said it: part of the UIDs of objects that hold a prognosis."""
    known = [(f.name, getattr(facts, f.name)) for f in fields(facts)]
    return hashlib.sha256(repr(known).encode()).hexdigest()


def _out_of_range(name: str, value: float | None) -> str:
    if value is None:
        return ""
    least, most, unit = RANGES[name]
    if least <= value <= most:
        return ""
    words = f"{NAMES[name]}: {value:g} is not possible, it lies from {least:g} to {most:g} {unit}".strip()
    if name == "glucose_mg_dl":
        words += f" ({least / MG_DL_PER_MMOL_L:.1f} to {most / MG_DL_PER_MMOL_L:.0f} mmol/L); is the unit right?"
    return words if words.endswith("?") else f"{words}."


def _onset_problem(onset: datetime, unknown: bool, at: datetime, scanned_at: datetime | None) -> str:
    if unknown:
        return "Onset: it is either not known or has a time."
    if onset > at + CLOCK_TOLERANCE:
        return "Onset: it lies in the future."
    if scanned_at is not None and onset > scanned_at + CLOCK_TOLERANCE:
        return "Onset: it lies after the images were taken."
    if (scanned_at or at) - onset > EARLIEST_ONSET:
        return f"Onset: more than {EARLIEST_ONSET.days} days before the images."
    return ""
