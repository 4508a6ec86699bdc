"""The scheduler's tick that brings facts from orders, reports and patient messages to the studies they are about.

The gateway only keeps them. Here they meet the study, whichever came first: order class, clinical facts, "read" by a report,
another identity. Nobody's statement is overwritten by a message: a field that a person stated stays as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from triage_node.blobs.opened import open_blobs
from triage_node.config.schema import Settings
from triage_node.domain.clinical import ClinicalEntry, ClinicalRevision
from triage_node.domain.errors import StatementConflict, StatementRefused, StoreError
from triage_node.domain.orders import OF_PATIENTS, OrderEvent, OrderFacts, PatientKey, ReceivedFacts
from triage_node.domain.priority import ReadingState
from triage_node.domain.study import StudyIdentity
from triage_node.processes import clinical, identity
from triage_node.processes.intake import facts_of
from triage_node.processes.running import Running, now
from triage_node.store import instances, meta, orders, studies, worklist
from triage_node.store.engine import Store
from triage_node.store.orders import Listed
from triage_node.study.identity import IdentityMove, judge_repeat

VIA = "HL7"
KEPT = timedelta(days=30)
_GCS = ("gcs", "gcs_eye", "gcs_verbal", "gcs_motor")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the last tick looked at."""

    newest: int
    list_version: int
    studies: frozenset[str]


class Orders:
    """Keeps only what it saw last; all else is asked of the store."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._zone = ZoneInfo(settings.node.time_zone)
        self._received = open_blobs(settings.store).received
        inbound = settings.hl7_inbound
        self._may_correct = inbound is not None and inbound.may_correct_identity
        self._completed_means_read = inbound is not None and inbound.completed_means_read
        self._seen = _Seen(0, -1, frozenset())

    def tick(self) -> None:
        """Apply what can be applied now. Raises: StoreError."""
        seen = self._seen
        newest, version = orders.newest(self._store), meta.list_version(self._store)
        if not newest or (newest, version) == (seen.newest, seen.list_version):
            return
        listed = orders.listed(self._store, now() - KEPT)
        uids = frozenset(s.study_instance_uid for s in listed)
        # without a new message only a study that was not there before can meet one that waits
        fresh = listed if newest != seen.newest else [s for s in listed if s.study_instance_uid not in seen.studies]
        busy: set[str] = set()
        for received in orders.patient_changes_after(self._store, seen.newest):
            self._guarded(received, self._correct)
        if fresh:
            for received in orders.waiting_for(self._store, fresh):
                self._guarded(received, lambda r: busy.update(self._apply(r, listed)))
        # a study that somebody works on just now is looked at again at the next tick
        self._seen = _Seen(newest, -1 if busy else version, uids - busy)

    def _guarded(self, received: ReceivedFacts, apply: Callable[[ReceivedFacts], None]) -> None:
        """A message that the node stumbles over holds up no other. Raises: StoreError, for then nothing can be done now."""
        try:
            apply(received)
        except StoreError:
            raise
        except Exception as error:
            log.exception("control_id=%s", received.control_id)
            with self._store.write() as c:
                orders.settle(c, received, f"could not be applied: {type(error).__name__}: {error}", now())

    def _apply(self, received: ReceivedFacts, listed: list[Listed]) -> frozenset[str]:
        """The studies that could not take it in now, and so are to be looked at again."""
        facts = received.facts
        if facts.event in OF_PATIENTS:
            meant = [s for s in listed if _is_of(_ids(facts), s.identity)]
        else:
            meant = [s for s in listed if _is_about(facts, s)]
        outcomes: list[str] = []
        for study in meant:
            try:
                outcomes.append(self._one(received, study))
            except StatementConflict as conflict:
                log.info("study=%s control_id=%s waits: %s", study.study_instance_uid, received.control_id, conflict)
                return frozenset((study.study_instance_uid,))
        if outcomes and facts.event is not OrderEvent.PATIENT_MERGED:
            with self._store.write() as c:
                orders.settle(c, received, "; ".join(o for o in dict.fromkeys(outcomes) if o) or "nothing new", now())
        return frozenset()

    def _one(self, received: ReceivedFacts, study: Listed) -> str:
        """What became of it, in words."""
        facts, uid, at = received.facts, study.study_instance_uid, now()
        actor = f"HL7 {received.sender}"[:128]
        if facts.event is OrderEvent.PATIENT_MERGED:
            # images that came under the old ID after the merge; one correction is enough, or two merges could chase each other
            if study.arrived_at > received.received_at and not studies.identity_was_corrected(self._store, uid):
                return self._move(received, study)
            return ""
        if facts.patients and study.identity.patient_id and not _is_of(facts.patients, study.identity):
            words = f"{facts.event.value} names another patient than the images"
            studies.notice(self._store, uid, words, at)
            return f"not applied: {words}"
        if facts.event is OrderEvent.REPORT:
            return self._close(uid, ReadingState.READ, f"report message {received.control_id}"[:128], at)
        if facts.event is OrderEvent.CANCELLED:
            return self._cancel(uid, received.control_id, at)
        if facts.event is OrderEvent.COMPLETED and self._completed_means_read:
            return self._close(uid, ReadingState.READ, f"order completed {received.control_id}"[:128], at)
        said = []
        if facts.assigned_accession and _is_of(facts.patients, study.identity):
            # the order names the study by its UID: whoever makes the orders says which number it has
            new = replace(study.identity, accession_number=facts.assigned_accession)
            if moved := self._become(received, study, new):
                said.append(moved)
        if facts.order_class is not None:
            with self._store.write() as c:
                orders.set_order_class(c, uid, facts.order_class, at, actor)
            said.append(f"order class {facts.order_class.value}")
        if stated := self._state(received, uid, at):
            said.append(stated)
        return "; ".join((*said, *facts.notes))

    def _close(self, uid: str, state: ReadingState, actor: str, at: datetime) -> str:
        with self._store.write() as c:
            worklist.set_reading_state(c, uid, state, at, actor)
        return f"{state.value} by {actor}"

    def _cancel(self, uid: str, control_id: str, at: datetime) -> str:
        """A cancelled order is not a read study: it leaves, and one with a flag stays in sight until somebody closes it."""
        listed = worklist.row_of(self._store, uid)
        flagged = listed is not None and listed.row.flag is not None
        state = ReadingState.NOT_CONFIRMED if flagged else ReadingState.STATUS_UNKNOWN
        words = self._close(uid, state, f"order cancelled {control_id}"[:128], at)
        studies.notice(self._store, uid, "the order was cancelled", at)
        return words

    def _state(self, received: ReceivedFacts, uid: str, at: datetime) -> str:
        """Take in clinical facts as a statement of their own. Raises: StatementConflict."""
        study = studies.get(self._store, uid)
        if study is None:
            return ""
        entry = self._with_age(received.facts, uid)
        history = clinical.statements(self._store, study)
        ours = [s for s, applies in history if applies]
        before = ours[-1].entry if ours else ClinicalEntry()
        after = joined(ours, entry)
        if after == before:
            return ""
        by = f"{received.sender} {received.control_id}"[:128]
        revision = history[-1][0].revision if history else 0
        try:
            clinical.take_in(self._store, self._zone, uid, after, by, VIA, revision, at)
        except StatementConflict:
            raise
        except StatementRefused as refused:
            log.warning("study=%s control_id=%s refused: %s", uid, received.control_id, refused)
            return f"facts refused: {refused}"
        return "facts taken in"

    def _with_age(self, facts: OrderFacts, uid: str) -> ClinicalEntry:
        """The age on the day of the scan, when the images do not tell one."""
        held = instances.of_study(self._store, uid)
        scanned = clinical.scanned_at(held, self._zone)
        if (
            not facts.birth_date
            or scanned is None
            or facts_of(held, studies.identity_corrections(self._store, uid)).age_years is not None
        ):
            return facts.entry
        born, day = datetime.strptime(facts.birth_date, "%Y%m%d"), scanned.astimezone(self._zone)
        age = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
        return replace(facts.entry, age_years=age if 0 <= age <= 120 else None)

    def _correct(self, received: ReceivedFacts) -> None:
        """ADT^A08 and A40 for every study that was there before them, read ones too."""
        outcomes = []
        for key in _ids(received.facts):
            for study in orders.of_patient(self._store, key.identifier):
                if _is_of((key,), study.identity) and study.arrived_at <= received.received_at:
                    outcomes.append(self._move(received, study))
        if outcomes:
            with self._store.write() as c:
                orders.settle(c, received, "; ".join(dict.fromkeys(o for o in outcomes if o)) or "nothing new", now())

    def _move(self, received: ReceivedFacts, study: Listed) -> str:
        """Another identity for one study. What left under the old one is counted in the notice and listed on its page."""
        return self._become(received, study, _renamed(study.identity, received.facts))

    def _become(self, received: ReceivedFacts, study: Listed, new: StudyIdentity) -> str:
        uid = study.study_instance_uid
        verdict = judge_repeat(study.identity, "same", new, "same", self._may_correct)
        if not isinstance(verdict, IdentityMove):
            return ""
        words = f"{verdict.words} ({received.facts.event.value})"
        if verdict.applied:
            follows = identity.correct(self._store, self._received, uid, new, f"HL7 {received.sender}"[:128])
            words = "; ".join(part for part in (words, follows) if part)
        studies.notice(self._store, uid, words, now())
        log.warning("study=%s control_id=%s %s", uid, received.control_id, words)
        return words


def forget_old(running: Running) -> None:
    """Messages go after KEPT, applied or not: they name patients, and no study comes so late."""
    orders.forget_before(running.store, now() - KEPT)


def joined(history: list[ClinicalRevision], told: ClinicalEntry) -> ClinicalEntry:
    """The last statement with what a message told; what a person stated stays. The parts of the GCS go together."""
    by_person: set[str] = set()
    before, nothing = ClinicalEntry(), ClinicalEntry()
    for statement in history:
        for f in fields(ClinicalEntry):
            value = getattr(statement.entry, f.name)
            if value == getattr(before, f.name):
                continue
            if statement.via == VIA or value == getattr(nothing, f.name):
                by_person.discard(f.name)
            else:
                by_person.add(f.name)
        before = statement.entry
    new = {f.name: v for f in fields(ClinicalEntry) if (v := getattr(told, f.name)) != getattr(nothing, f.name)}
    if by_person.intersection(_GCS):
        new = {name: v for name, v in new.items() if name not in _GCS}
    elif not new.keys().isdisjoint(_GCS):
        new |= {name: getattr(told, name) for name in _GCS}
    if by_person.intersection(("onset_at", "onset_unknown")):
        new.pop("onset_at", None)
    elif "onset_at" in new:
        new["onset_unknown"] = False
    return replace(before, **{name: v for name, v in new.items() if name not in by_person}).completed()


def _is_about(facts: OrderFacts, study: Listed) -> bool:
    """Whether a message names a study: by its UID, or by accession number. What ends a row needs more than the number alone."""
    if facts.study_instance_uid:
        if facts.study_instance_uid == study.study_instance_uid:
            return True
        if facts.event is not OrderEvent.ORDER:
            return False
    same = bool(facts.accession_number) and facts.accession_number == study.identity.accession_number
    return same and (facts.event is OrderEvent.ORDER or _is_of(facts.patients, study.identity))


def _is_of(keys: tuple[PatientKey, ...], identity: StudyIdentity) -> bool:
    return any(k.same_as(PatientKey(identity.patient_id, identity.issuer_of_patient_id)) for k in keys)


def _ids(facts: OrderFacts) -> tuple[PatientKey, ...]:
    """The IDs under which the studies of a patient message stand now."""
    return (facts.merged_from,) if facts.merged_from is not None else facts.patients


def _renamed(old: StudyIdentity, facts: OrderFacts) -> StudyIdentity:
    """What the message tells takes the place of the old; what it does not tell stays."""
    new = replace(
        old,
        patient_name=facts.patient_name or old.patient_name,
        patient_birth_date=facts.birth_date or old.patient_birth_date,
        patient_sex=facts.sex or old.patient_sex,
    )
    if facts.merged_from is None:
        return new
    same_issuer = [k for k in facts.patients if k.issuer and k.issuer == facts.merged_from.issuer]
    key = (*same_issuer, *facts.patients)[0]
    return replace(new, patient_id=key.identifier, issuer_of_patient_id=key.issuer or old.issuer_of_patient_id)
