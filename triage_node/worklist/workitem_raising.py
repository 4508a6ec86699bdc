"""Raising the reading of a study at a UPS manager, and taking the raise back: the steps, whatever carries them.

`held` and `written` of an Answer list each workitem with its priority: "1.2.3=LOW, 1.2.4=MEDIUM". A workitem that we
created held nothing; taking its raise back leaves it there with a neutral priority, since somebody may count on it by then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar

from pydicom.dataset import Dataset

from triage_node.config.worklist_peers import UpsPeerSettings, UpsRsPeerSettings
from triage_node.domain.errors import DeliveryError, PermanentDeliveryError, TransientDeliveryError
from triage_node.domain.identifiers import deterministic_uid
from triage_node.workitems import foreign
from triage_node.workitems.foreign import RANK, SCHEDULED, Person, Workitem
from triage_node.workitems.replies import Verdict
from triage_node.worklist.adapter import Answer, Outcome, RaiseMessage

S = TypeVar("S", bound=UpsPeerSettings | UpsRsPeerSettings)

MOST_RESULTS = 200
"""What a manager may answer: it was asked for the workitems of one study."""
TOO_MANY = f"more than {MOST_RESULTS} workitems for one study: the manager does not ask by study"


class Manager(Protocol):
    """A UPS manager on an open connection. Verdicts RETRY and STOP come as errors. Everything raises: DeliveryError."""

    def find(self, study_instance_uid: str = "", accession_number: str = "") -> list[Workitem]: ...

    def get(self, uid: str) -> Workitem | None:
        """None when it has no such workitem."""
        ...

    def set_priority(self, uid: str, priority: str) -> Verdict: ...
    def create(self, uid: str, item: Dataset) -> Verdict: ...


class ReadingAdapter(Generic[S]):
    """A worklist adapter (worklist/adapter.py) at a UPS manager; a subclass opens the connection."""

    key: str

    def __init__(self, settings: S) -> None:
        self._settings: S = settings
        self.timeout_s = settings.timeout_s

    def manager(self) -> AbstractContextManager[Manager]:
        raise NotImplementedError

    def raise_study(self, message: RaiseMessage) -> Answer:
        with self.manager() as manager:
            return raise_reading(manager, message, self._settings.name, self._settings.create_missing)

    def withdraw_raise(self, message: RaiseMessage, raised: Answer) -> Answer:
        with self.manager() as manager:
            return withdraw_reading(manager, raised)

    def close(self) -> None:
        return None


def judged(verdict: Verdict, words: str) -> Verdict:
    """The verdict of an answer that has one. Raises: DeliveryError with `words` for RETRY and STOP."""
    if verdict is Verdict.RETRY:
        raise TransientDeliveryError(words)
    if verdict is Verdict.STOP:
        raise PermanentDeliveryError(words)
    return verdict


def raise_reading(manager: Manager, message: RaiseMessage, peer_name: str, create_missing: bool) -> Answer:
    """Raise every reading of the study that still waits, and read back what then stands. Raises: DeliveryError."""
    held: dict[str, str] = {}
    written: dict[str, str] = {}
    for _ in range(2):
        items = _readings(manager, message)
        if not items and create_missing:
            uid = deterministic_uid("reading workitem", peer_name, message.study_instance_uid)
            new = {uid: foreign.wanted_priority(message.urgency)}
            with _told_when_lost({uid: ""}, new):
                verdict = manager.create(uid, _new(message))
            if verdict is Verdict.DONE:
                return _confirmed(manager, message, {uid: ""}, new, {uid})
            known = manager.get(uid)  # our own second try, at a manager that does not find it by its study
            items = [known] if known else []
        if not items:
            return Answer(Outcome.UNKNOWN_STUDY, words="no workitem for this study")
        waiting = [i for i in items if i.state == SCHEDULED]
        verdicts: dict[str, Verdict] = {}
        for item in waiting:
            target = foreign.raised(item.priority, message.urgency)
            try:
                verdict = Verdict.DONE if target == item.priority else manager.set_priority(item.uid, target)
            except TransientDeliveryError as error:
                was, ours = {item.uid: item.priority, **held}, {**written, item.uid: target}
                raise TransientDeliveryError(str(error), _listed(was), _listed(ours)) from error
            verdicts[item.uid] = verdict
            if verdict is Verdict.DONE:
                held.setdefault(item.uid, item.priority)
                written[item.uid] = target
        if Verdict.LOOK_AGAIN in verdicts.values():
            continue
        if not written:
            states = ", ".join(sorted({i.state for i in items if i.state != SCHEDULED})) or "no longer SCHEDULED"
            return Answer(Outcome.TOO_LATE, words=f"the reading is {states}")
        return _confirmed(manager, message, held, written, {u for u in written if held[u] != written[u]})
    raise PermanentDeliveryError("the manager offers a workitem that it then refuses to know or to change")


def withdraw_reading(manager: Manager, raised: Answer) -> Answer:
    """Give each workitem of `raised` back what it held, where it still holds what we wrote. Raises: DeliveryError."""
    held, written = _parse(raised.held), _parse(raised.written)
    if not written:
        return Answer(Outcome.NOTHING_SENT, words="nothing was raised here")
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    changed: set[str] = set()
    too_late: list[str] = []
    for uid, ours in written.items():
        back = held.get(uid, "") or foreign.NEUTRAL
        item = manager.get(uid)
        if item is None:
            too_late.append("the workitem is gone")
            continue
        before[uid] = after[uid] = item.priority
        if item.priority == back or RANK.get(back, 0) >= RANK.get(ours, 0):
            continue
        if item.state != SCHEDULED:
            too_late.append(f"the reading is {item.state}")
        elif item.priority != ours:
            too_late.append(f"somebody else has set {item.priority} since")
        elif manager.set_priority(uid, back) is Verdict.DONE:
            after[uid] = back
            changed.add(uid)
        else:
            too_late.append("the workitem was changed while we looked")
    if not too_late:
        return _read_back(manager, before, after, changed)
    return Answer(Outcome.TOO_LATE, _listed(before), _listed(after), "; ".join(too_late))


def _readings(manager: Manager, message: RaiseMessage) -> list[Workitem]:
    uid, accession = message.study_instance_uid, message.accession_number.strip()
    found = foreign.readings_of(manager.find(study_instance_uid=uid), uid, "")
    if found or not foreign.may_be_asked(accession):
        return found
    return foreign.readings_of(manager.find(accession_number=accession), uid, accession)


def _confirmed(
    manager: Manager, message: RaiseMessage, held: Mapping[str, str], written: Mapping[str, str], changed: set[str]
) -> Answer:
    answer = _read_back(manager, held, written, changed)
    wanted = RANK[foreign.wanted_priority(message.urgency)]
    if all(RANK.get(priority, 0) >= wanted for priority in _parse(answer.written).values()):
        return answer
    return Answer(Outcome.NOT_CONFIRMED, answer.held, answer.written, f"the manager holds {answer.written}")


def _read_back(manager: Manager, before: Mapping[str, str], after: Mapping[str, str], changed: set[str]) -> Answer:
    """ACKNOWLEDGED when the changes stand. What was written is known even when reading it back fails: it must be kept."""
    stands = dict(after)
    try:
        for uid in sorted(changed):
            item = manager.get(uid)
            if item is None:
                return Answer(
                    Outcome.NOT_CONFIRMED, _listed(before), _listed(after), "accepted, but not there any more"
                )
            stands[uid] = item.priority
    except DeliveryError as error:
        return Answer(Outcome.NOT_CONFIRMED, _listed(before), _listed(after), f"accepted, but not read back: {error}")
    words = "; ".join(f"{before.get(u) or 'none'} before, {p} now" for u, p in stands.items())
    outcome = Outcome.ACKNOWLEDGED if stands == dict(after) else Outcome.NOT_CONFIRMED
    return Answer(outcome, _listed(before), _listed(stands), words)


@contextmanager
def _told_when_lost(held: Mapping[str, str], written: Mapping[str, str]) -> Iterator[None]:
    """A change whose answer does not come may have arrived: the error tells what it would have replaced."""
    try:
        yield
    except TransientDeliveryError as error:
        raise TransientDeliveryError(str(error), _listed(held), _listed(written)) from error


def _new(message: RaiseMessage) -> Dataset:
    person = Person(
        message.patient_id,
        message.issuer_of_patient_id,
        message.patient_name,
        message.patient_birth_date,
        message.patient_sex,
    )
    return foreign.new_reading(
        message.study_instance_uid,
        message.accession_number,
        foreign.wanted_priority(message.urgency),
        f"{message.words} {message.link}".strip(),
        person,
        message.issued_at or datetime.now(UTC),
    )


def _listed(priorities: Mapping[str, str]) -> str:
    return ", ".join(f"{uid}={priority}" for uid, priority in sorted(priorities.items()))


def _parse(listed: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in listed.split(", ") if part)
    return {uid: priority for uid, _, priority in pairs}
