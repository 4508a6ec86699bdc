"""Repeats: a scan soon after a flagged one of the same patient. It is raised and labelled; people are notified of news only.

Decided here, from the words of issue 9 ("a scan within 14 days of a flagged one is raised"):
(1) the scan is raised whether or not the model raises it by itself; where it does not, the flag is `moderate`, says so, and
    stays on the node's own list, since there is no finding that another worklist could be told;
(2) only a scan that the model itself flagged makes repeats, so that one flag does not go on for ever;
(3) what cannot be compared is news: volumes of two models, or a volume that is no number or not proven at this site; and so is
    a bleed of whose earlier scans nobody was notified.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from triage_node.domain.durations import in_words
from triage_node.domain.finding import FINDINGS
from triage_node.domain.study import StudyIdentity

WITHIN = timedelta(days=14)
GROWTH_ML, GROWTH_SHARE = 6.0, 0.33
"""Hematoma expansion as studies define it (PAPERS.md 4.2); less than that is within what measuring twice may differ by."""

_PLACEHOLDER_IDS = frozenset(
    "UNKNOWN UNKNOWNPATIENT UNBEKANNT INCONNU NN NONAME ANON ANONYM ANONYMOUS ANONYMIZED ANONYMISED ANONYME NONE NULL NIL "
    "NA NAN TEST TESTPATIENT DUMMY PHANTOM PATIENT TRAUMA EMERGENCY NOTFALL JOHNDOE JANEDOE DOE TEMP DEFAULT ID PATIENTID "
    "12345 123456 1234567 12345678".split()
)
_PLACEHOLDER_BIRTH_DATES = frozenset({"19000101", "19010101", "19110101", "19111111", "19700101"})
_DATE = re.compile(r"[0-9]{8}\Z")


@dataclass(frozen=True, slots=True)
class Scan:
    """One analysed scan. `volume_ml` counts as not known when it is no number or not over 0; `is_told`: people were notified
    of it. `subtypes` are those that may be named at this site."""

    study_instance_uid: str
    scanned_at: datetime
    arrived_at: datetime
    volume_ml: float
    subtypes: tuple[str, ...]
    bundle_digest: str
    is_told: bool = True


@dataclass(frozen=True, slots=True)
class Repeat:
    """A scan `after` a flagged one, `of`. `growth` is None when it cannot be computed.

    `is_first_told`: nobody was notified of the scans before (imported, or found while the node observed).
    """

    of: str
    after: timedelta
    earlier_ml: float | None
    growth: bool | None
    new_subtypes: tuple[str, ...]
    is_first_told: bool = False

    @property
    def is_news(self) -> bool:
        """Whether people are notified: growth, a new subtype, growth that cannot be computed, or a bleed nobody was told of."""
        return self.growth is not False or bool(self.new_subtypes) or self.is_first_told

    @property
    def words(self) -> str:
        """The label, with the margin under which two volumes count as equal."""
        said = [f"repeat after {in_words(self.after)}"]
        if self.new_subtypes:
            said.append("new: " + " and ".join(FINDINGS[s].short for s in self.new_subtypes if s in FINDINGS))
        if self.growth is None:
            return ", ".join((*said, "growth not known"))
        margin = f"{GROWTH_ML:.0f} mL or {GROWTH_SHARE:.0%}".replace("%", " %")
        said.append(f"{self.earlier_ml:.0f} mL then")
        said.append(f"growth (from {margin} on)" if self.growth else f"no growth (from {margin} on)")
        return ", ".join(said)


def same_patient(one: StudyIdentity, other: StudyIdentity) -> bool:
    """Patient ID, issuer and birth date are equal and name somebody. That both name no issuer is equal: many sites have one."""
    return (
        one.patient_id.strip() == other.patient_id.strip()
        and one.issuer_of_patient_id.strip() == other.issuer_of_patient_id.strip()
        and one.patient_birth_date.strip() == other.patient_birth_date.strip()
        and names_somebody(one)
    )


def names_somebody(identity: StudyIdentity) -> bool:
    """False for placeholders. Generous: a patient who is not recognised is notified once more, nothing else."""
    letters = re.sub(r"[\W_]", "", identity.patient_id).upper()
    if len(set(letters)) < 2 or letters in _PLACEHOLDER_IDS:
        return False
    if re.sub(r"[\W_]", "", identity.issuer_of_patient_id).upper() in _PLACEHOLDER_IDS:
        return False
    born = identity.patient_birth_date.strip()
    if _DATE.match(born) is None or born in _PLACEHOLDER_BIRTH_DATES:
        return False
    try:
        return datetime.strptime(born, "%Y%m%d").year > 1900
    except ValueError:
        return False


def repeat_of(scan: Scan, flagged: Sequence[Scan]) -> Repeat | None:
    """What `scan` repeats among the flagged scans of its patient, None when it repeats none.

    Volumes are compared with the last scan that people were told of, so that a bleed cannot grow unseen in steps that are each
    too small.
    """
    order = (scan.scanned_at, scan.arrived_at)
    before = sorted(
        (
            f
            for f in flagged
            if f.study_instance_uid != scan.study_instance_uid
            and (f.scanned_at, f.arrived_at) < order
            and scan.scanned_at - f.scanned_at <= WITHIN
        ),
        key=lambda f: (f.scanned_at, f.arrived_at, f.study_instance_uid),
    )
    if not before:
        return None
    last = before[-1]
    told = next((f for f in reversed(before) if f.is_told), None)
    base = told or last
    known = {s for f in before for s in f.subtypes}
    comparable = scan.bundle_digest == base.bundle_digest and _is_volume(scan.volume_ml) and _is_volume(base.volume_ml)
    return Repeat(
        of=last.study_instance_uid,
        after=scan.scanned_at - last.scanned_at,
        earlier_ml=base.volume_ml if comparable else None,
        growth=has_grown(base.volume_ml, scan.volume_ml) if comparable else None,
        new_subtypes=tuple(s for s in dict.fromkeys(scan.subtypes) if s not in known),
        is_first_told=told is None,
    )


def has_grown(before_ml: float, now_ml: float) -> bool:
    """Whether a volume has grown by more than measuring twice explains: 6 mL or 33 %, the margin itself included."""
    return now_ml - before_ml >= GROWTH_ML or now_ml >= before_ml * (1 + GROWTH_SHARE)


def _is_volume(ml: float) -> bool:
    return math.isfinite(ml) and ml > 0
