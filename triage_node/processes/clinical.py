"""Clinical facts of a study: what headers and people tell, whether it is this patient's, and taking in a new statement."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, tzinfo

from triage_node.domain import clinical as domain
from triage_node.domain.clinical import ClinicalEntry, ClinicalRevision
from triage_node.domain.errors import StatementConflict, StatementRefused
from triage_node.domain.instance import ReceivedInstance
from triage_node.domain.prognosis import ClinicalFacts
from triage_node.domain.study import StudyIdentity, StudyState
from triage_node.processes import identity
from triage_node.processes.intake import facts_of
from triage_node.store import clinical, instances, studies
from triage_node.store.engine import Store
from triage_node.study.liveness import acquired_at, zone_of


@dataclass(frozen=True, slots=True)
class KnownFacts:
    """What is known of a patient now, and from which statement (0: none)."""

    facts: ClinicalFacts
    revision: int


def patient_digest(who: StudyIdentity) -> str:
    """Names a patient; an accession number is the order's, so its correction leaves the facts where they are."""
    patient = (who.patient_id, who.issuer_of_patient_id, who.patient_name, who.patient_birth_date, who.patient_sex)
    return hashlib.sha256(repr(patient).encode()).hexdigest()


def known_facts(store: Store, uid: str, held: list[ReceivedInstance], zone: tzinfo) -> KnownFacts:
    """Headers' facts and the last statement. A statement of another patient counts as taken in, and says nothing."""
    history = clinical.history_of(store, uid)
    stated = history[-1] if history else None
    counts = stated is not None and _is_of(store, stated, studies.get(store, uid), held)
    facts = domain.merged(_facts(store, uid, held), stated if counts else None, scanned_at(held, zone))
    return KnownFacts(facts, stated.revision if stated else 0)


def statements(store: Store, study: studies.StudyRecord) -> tuple[tuple[ClinicalRevision, bool], ...]:
    """Every statement about a study, oldest first, and whether it is about the patient whom the study belongs to now."""
    held = instances.of_study(store, study.study_instance_uid)
    return tuple((s, _is_of(store, s, study, held)) for s in clinical.history_of(store, study.study_instance_uid))


def take_in(
    store: Store, zone: tzinfo, uid: str, entry: ClinicalEntry, by: str, via: str, seen_revision: int, at: datetime
) -> ClinicalRevision:
    """Store a statement. `seen_revision`: the statement that its author had before them, 0 for none.

    Raises: StatementRefused when it cannot be true, StatementConflict when the study is in quarantine or somebody else was quicker.
    """
    study = studies.get(store, uid)
    held = instances.of_study(store, uid)
    if study is None:
        raise StatementConflict("There is no such study.")
    if study.state is StudyState.QUARANTINED or _of_two(store, uid, held):
        raise StatementConflict("This study is in quarantine: it is not clear whose it is. Nothing can be entered.")
    entry = entry.completed()
    found = domain.problems(entry, at, scanned_at(held, zone), _facts(store, uid, held).age_years)
    if found:
        raise StatementRefused(*found)
    statement = ClinicalRevision(uid, seen_revision + 1, at, by, via, patient_digest(study.identity), entry)
    with store.write() as c:
        if not clinical.add(c, statement):
            raise StatementConflict("Somebody else has entered facts meanwhile. Look at them, then enter yours.")
    return statement


def scanned_at(held: list[ReceivedInstance], zone: tzinfo) -> datetime | None:
    """When the images were taken: the first image of the series that has most, whatever came first (a localizer, a reformat)."""
    taken: defaultdict[str, list[datetime]] = defaultdict(list)
    for header in (i.header for i in held if i.header is not None):
        date, clock = header.acquisition_date.strip(), header.acquisition_time.strip()
        if date and clock and (at := acquired_at(date, clock, zone_of(header, zone))) is not None:
            taken[header.series_instance_uid].append(at)
    return min(max(taken.values(), key=lambda times: (len(times), min(times)))) if taken else None


def _facts(store: Store, uid: str, held: list[ReceivedInstance]) -> ClinicalFacts:
    return facts_of(held, studies.identity_corrections(store, uid))


def _of_two(store: Store, uid: str, held: list[ReceivedInstance]) -> bool:
    return bool(identity.two_patients(held, studies.identity_corrections(store, uid)))


def _is_of(
    store: Store, statement: ClinicalRevision, study: studies.StudyRecord | None, held: list[ReceivedInstance]
) -> bool:
    return (
        study is not None
        and study.state is not StudyState.QUARANTINED
        and statement.patient_digest == patient_digest(study.identity)
        and not _of_two(store, study.study_instance_uid, held)
    )
