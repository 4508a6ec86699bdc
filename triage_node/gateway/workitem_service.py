"""The UPS manager behind both transports: every operation as one transaction, every answer as a status.

The node's reading list decides: before each operation the workitems are brought in line with the rows of the list, and a
claim, a completion or a release changes the row in the same transaction. So the page, DIMSE and HTTP never disagree.

What this manager decides where the standard leaves it open:
- Workitems exist only for studies that the node received: N-CREATE by others is refused with 0x0124.
- Others may set the priority of a SCHEDULED item, never below what the node's list gives it (0xB305). It changes the item,
  not the node's own list.
- A cancel request for a SCHEDULED item cancels the item. The study stays on the node's list, and gets a new item when it
  becomes more urgent than it was, since silence must not hide a flag.
- An item IN PROGRESS whose claim lapses, as on the page, is CANCELED and followed by a new SCHEDULED one. A progress
  report of its owner renews the claim.
- An item never goes from the store, so that every deletion lock is granted and kept. Those that ended, and whose study left
  the list, are found by C-FIND and N-GET; a new subscriber with a lock is not told of them.
- What the list closed itself is COMPLETED without telling who performed it: the node does not know.

Source: PS3.4 annex CC.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from triage_node.domain.identifiers import is_uid
from triage_node.domain.priority import OrderClass, ReadingState, WorklistRow
from triage_node.domain.workitem import (
    FILTERED_SUBSCRIPTION,
    GLOBAL_SUBSCRIPTION,
    OPEN_STATES,
    Ended,
    ItemPriority,
    ItemState,
    Json,
    StudyFacts,
    Subscription,
    Workitem,
)
from triage_node.store import audit, meta, workitems, worklist
from triage_node.store.engine import Store
from triage_node.workitems import dataset, events, follow
from triage_node.workitems.events import EventType
from triage_node.workitems.match import matches, returned
from triage_node.workitems.plain import to_json
from triage_node.workitems.state import answer_to_cancel_request, answer_to_change, answer_to_update
from triage_node.workitems.status import Status

WELL_KNOWN = frozenset({GLOBAL_SUBSCRIPTION, FILTERED_SUBSCRIPTION})
PERFORMED_CHARACTERS = 65_536
_NODE = "node"
_BY_PERFORMER = ("ProcedureStepProgressInformationSequence", "UnifiedProcedureStepPerformedProcedureSequence")
_NAMES_THE_REQUEST = ("SOPClassUID", "SOPInstanceUID", "TransactionUID")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: `name` for people and the audit, `ae_title` where there is one."""

    name: str
    ae_title: str = ""


class WorkitemService:
    """Safe to call from many threads."""

    def __init__(
        self,
        store: Store,
        now: Callable[[], datetime],
        as_seen: Callable[[WorklistRow], WorklistRow],
        bounds: Mapping[OrderClass, timedelta],
        known_subscribers: frozenset[str],
        simulation: bool,
    ) -> None:
        """`as_seen`: a row as readers may see it. `known_subscribers`: AE titles that the configuration names."""
        self._store, self._now, self._as_seen = store, now, as_seen
        self._bounds, self._known = dict(bounds), known_subscribers
        self._simulation = simulation
        self._followed = -1
        self._lock = threading.Lock()

    # the list leads

    def follow(self, always: bool = False) -> None:
        """Bring the workitems in line with the list, if it has changed (or `always`)."""
        if always or meta.list_version(self._store) != self._followed:
            with self._write(always):
                pass

    @contextmanager
    def _write(self, always: bool = False) -> Iterator[Any]:
        """One transaction that begins with workitems in line with the list: nobody claims what was read meanwhile."""
        with self._lock:
            with self._store.write() as c:
                version = meta.list_version(c)
                if always or version != self._followed:
                    self._follow(c, self._now())
                yield c
            self._followed = version

    def _follow(self, c: Any, at: datetime) -> None:
        items, closed = workitems.newest(c), workitems.closed_studies(c)
        rows = {r.row.study_instance_uid: self._as_seen(r.row) for r in worklist.rows(c)}
        wants = {uid: follow.wanted(row, uid in closed) for uid, row in rows.items()}
        gone = [uid for uid, item in items.items() if uid not in wants and item.state in OPEN_STATES]
        for uid, state in workitems.reading_states(c, gone).items():
            wants[uid] = follow.Wanted(state)
        for uid, want in wants.items():
            item = items.get(uid)
            for step, ended in follow.steps(item, want):
                item = self._step(c, uid, item, step, ended, want, at)

    def _step(
        self,
        c: Any,
        uid: str,
        item: Workitem | None,
        step: follow.Step,
        ended: Ended | None,
        want: follow.Wanted,
        at: datetime,
    ) -> Workitem:
        if step is follow.Step.CREATE:
            attempt = 1 if item is None else item.attempt + 1
            item = Workitem(
                follow.workitem_uid(uid, attempt), uid, attempt, want.priority, at, at,
                comment=want.comment, input_ready=want.input_ready,
            )  # fmt: skip
            workitems.add(c, item)
            self._announce(c, item, EventType.STATE_REPORT, events.state_report(item), at)
            return item
        assert item is not None
        if step is follow.Step.REVISE:
            revised = replace(
                item, own_priority=want.priority, comment=want.comment, input_ready=want.input_ready, changed_at=at
            )
            workitems.save(c, revised)
            if (revised.priority, revised.input_ready) != (item.priority, item.input_ready):
                audit.record(
                    c, at, _NODE, "workitem priority", uid, item.priority.value, f"{revised.priority.value} {item.uid}"
                )
                self._announce(c, revised, EventType.STATE_REPORT, events.state_report(revised), at)
            return revised
        if step is follow.Step.CLAIM:
            return self._advance(c, item, ItemState.IN_PROGRESS, at, "the node's own list", str(generate_uid()))
        state = ItemState.COMPLETED if step is follow.Step.COMPLETE else ItemState.CANCELED
        return self._end(c, item, state, ended, at, _NODE)

    # what others ask

    def find(self, keys: Dataset) -> tuple[Status, list[Dataset]]:
        """C-FIND: SUCCESS and all that match, or a failure and nothing."""
        self.follow()
        state = str(keys.get("ProcedureStepState") or "")
        wants_input = "InputInformationSequence" in keys
        with self._store.read() as c:
            found = workitems.described(
                c,
                uid=_one_uid(keys.get("SOPInstanceUID")),
                study_instance_uid=_study_in(keys),
                state=ItemState(state) if state in list(ItemState) else None,
            )
            if len(found) > workitems.MATCHED_AT_MOST:
                return Status.OUT_OF_RESOURCES, []
            answers = []
            for item, study in found:
                instances = workitems.instances_of(c, item.study_instance_uid) if wants_input else None
                held = self._data_set(item, study, instances)
                if matches(keys, held):
                    answers.append(returned(keys, held))
        return Status.SUCCESS, answers

    def get(self, uid: str, caller: Caller) -> Dataset | None:
        """N-GET: everything but the Transaction UID; None when there is no such workitem."""
        with self._write() as c:
            for item, study in workitems.described(c, uid=uid) if is_uid(uid) else ():
                audit.record(c, self._now(), caller.name, "workitem viewed", item.study_instance_uid, new=uid)
                return self._data_set(item, study, workitems.instances_of(c, item.study_instance_uid))
        return None

    def create(self, uid: str, data: Dataset) -> Status:
        """N-CREATE by others: the answer says what was wrong first, and refuses what is right."""
        if str(data.get("ProcedureStepState") or "") != ItemState.SCHEDULED.value:
            return Status.NOT_SCHEDULED_AT_CREATE
        with self._store.read() as c:
            if is_uid(uid) and workitems.described(c, uid=uid):
                return Status.DUPLICATE
        return Status.NOT_AUTHORIZED

    def update(self, uid: str, data: Dataset, given: str, caller: Caller) -> Status:
        """N-SET. `given`: the Transaction UID."""
        with self._write() as c:
            item = workitems.get(c, uid) if is_uid(uid) else None
            if item is None:
                return Status.NO_SUCH_WORKITEM
            status = answer_to_update(item.state, item.transaction_uid, given)
            if status is not Status.SUCCESS:
                return status
            if "ProcedureStepState" in data:
                asked = str(data.get("ProcedureStepState") or "")
                return Status.ONLY_CREATE_SCHEDULES if asked == "SCHEDULED" else Status.INVALID_VALUE
            if item.state is ItemState.SCHEDULED:
                return self._set_priority(c, item, data, caller)
            return self._set_progress(c, item, data, caller)

    def change_state(self, uid: str, asked: str, given: str, caller: Caller) -> Status:
        """N-ACTION 1: claim, complete, or give back."""
        with self._write() as c:
            item = workitems.get(c, uid) if is_uid(uid) else None
            if item is None:
                return Status.NO_SUCH_WORKITEM
            if asked not in list(ItemState):
                return Status.NO_SUCH_ARGUMENT
            if given and not is_uid(given):
                return Status.WRONG_TRANSACTION_UID
            wanted = ItemState(asked)
            status = answer_to_change(
                wanted, item.state, item.transaction_uid, given, dataset.final_data_meets(item, wanted)
            )
            if status is not Status.SUCCESS:
                return status
            at, study = self._now(), item.study_instance_uid
            if wanted is ItemState.IN_PROGRESS:
                self._advance(c, item, wanted, at, caller.name, given)
                worklist.set_reading_state(c, study, ReadingState.BEING_READ, at, caller.name, caller.name)
            elif wanted is ItemState.COMPLETED:
                self._end(c, item, wanted, Ended.READ, at, caller.name)
                worklist.set_reading_state(c, study, ReadingState.READ, at, caller.name)
            else:
                self._end(c, item, wanted, Ended.RELEASED, at, caller.name)
                worklist.set_reading_state(c, study, ReadingState.WAITING, at, caller.name)
                self._follow(c, at)  # what waits again has its next item at once
        return Status.SUCCESS

    def request_cancel(self, uid: str, information: Dataset, caller: Caller) -> Status:
        """N-ACTION 2."""
        with self._write() as c:
            item = workitems.get(c, uid) if is_uid(uid) else None
            if item is None:
                return Status.NO_SUCH_WORKITEM
            status, at = answer_to_cancel_request(item.state), self._now()
            if status is not Status.SUCCESS:
                return status
            audit.record(
                c, at, caller.name, "workitem cancel requested", item.study_instance_uid, item.state.value, uid
            )
            if item.state is ItemState.SCHEDULED:
                item = self._advance(c, item, ItemState.IN_PROGRESS, at, _NODE, str(generate_uid()))
                self._end(c, item, ItemState.CANCELED, Ended.WITHDRAWN, at, caller.name)
                return Status.SUCCESS
            body = events.cancel_requested(information, caller.ae_title)
            told = self._announce(c, item, EventType.CANCEL_REQUESTED, body, at)
            return Status.SUCCESS if told else Status.PERFORMER_NOT_REACHABLE

    def subscribe(self, uid: str, ae_title: str, deletion_lock: bool, keys: Dataset | None, caller: Caller) -> Status:
        """N-ACTION 3. `keys`: of the filtered subscription. Who asks for one item, or for all with a lock, is told how they stand
        now (PS3.4 CC.2.4.3)."""
        if ae_title not in self._known:
            return Status.UNKNOWN_RECEIVING_AE
        if uid == FILTERED_SUBSCRIPTION and not keys:
            return Status.NO_SUCH_ARGUMENT
        filter_keys: Json = to_json(keys) if uid == FILTERED_SUBSCRIPTION and keys else {}
        with self._write() as c:
            item = None if uid in WELL_KNOWN or not is_uid(uid) else workitems.get(c, uid)
            if item is None and uid not in WELL_KNOWN:
                return Status.NO_SUCH_WORKITEM
            at = self._now()
            wish = Subscription(ae_title, uid, deletion_lock=deletion_lock, keys=filter_keys)
            workitems.subscribe(c, wish)
            audit.record(c, at, caller.name, "workitem subscription", uid, new=ae_title)
            told = [item] if item is not None else list(workitems.newest(c).values()) if deletion_lock else []
            for held in told:
                if item is not None or self._concerns(c, wish, held):
                    body = events.state_report(held)
                    workitems.queue_event(c, ae_title, held.uid, EventType.STATE_REPORT, body, at)
        return Status.SUCCESS

    def unsubscribe(self, uid: str, ae_title: str, caller: Caller) -> Status:
        """N-ACTION 4. Of a well-known UID: everything that the AE wanted."""
        if ae_title not in self._known:
            return Status.UNKNOWN_RECEIVING_AE
        with self._write() as c:
            if uid in WELL_KNOWN:
                workitems.unsubscribe(c, ae_title)
            elif not is_uid(uid) or workitems.get(c, uid) is None:
                return Status.NO_SUCH_WORKITEM
            else:
                workitems.subscribe(c, Subscription(ae_title, uid, subscribed=False))
            audit.record(c, self._now(), caller.name, "workitem subscription ended", uid, old=ae_title)
        return Status.SUCCESS

    def suspend(self, uid: str, ae_title: str, caller: Caller) -> Status:
        """N-ACTION 5: nothing of workitems that are made from now on."""
        if uid not in WELL_KNOWN:
            return Status.NOT_APPROPRIATE
        if ae_title not in self._known:
            return Status.UNKNOWN_RECEIVING_AE
        at = self._now()
        with self._write() as c:
            for held in workitems.subscriptions(c):
                if held.ae_title == ae_title and held.scope == uid and held.suspended_at is None:
                    workitems.subscribe(c, replace(held, suspended_at=at))
                    audit.record(c, at, caller.name, "workitem subscription suspended", uid, old=ae_title)
        return Status.SUCCESS

    def started(self) -> None:
        """Tell all that are configured that the manager was started: what they want may be lost (PS3.4 CC.2.4.3, fallback list)."""
        with self._write() as c:
            for ae_title in sorted(self._known):
                workitems.queue_event(
                    c, ae_title, GLOBAL_SUBSCRIPTION, EventType.STATUS_CHANGE, events.restarted(), self._now()
                )

    # inside

    def _data_set(self, item: Workitem, study: StudyFacts, instances: dataset.Instances | None) -> Dataset:
        due_at = study.arrived_at + self._bounds[study.order_class]
        return dataset.data_set(item, study, due_at, instances, self._simulation)

    def _set_priority(self, c: Any, item: Workitem, data: Dataset, caller: Caller) -> Status:
        if "ScheduledProcedureStepPriority" not in data:
            return Status.OPTIONAL_NOT_SUPPORTED
        asked = str(data.get("ScheduledProcedureStepPriority") or "")
        if asked not in list(ItemPriority):
            return Status.INVALID_VALUE
        at = self._now()
        changed = replace(item, asked_priority=ItemPriority(asked), changed_at=at)
        workitems.save(c, changed)
        audit.record(
            c, at, caller.name, "workitem priority", item.study_instance_uid, item.priority.value,
            f"{changed.priority.value} {item.uid}",
        )  # fmt: skip
        if changed.priority is not item.priority:
            self._announce(c, changed, EventType.STATE_REPORT, events.state_report(changed), at)
        if changed.priority.value != asked:
            return Status.COERCED
        return _others(data, "ScheduledProcedureStepPriority")

    def _set_progress(self, c: Any, item: Workitem, data: Dataset, caller: Caller) -> Status:
        told = Dataset()
        for keyword in _BY_PERFORMER:
            if keyword in data:
                told[keyword] = data[keyword]
        if not told:
            return Status.OPTIONAL_NOT_SUPPORTED
        performed = dict(item.performed) | to_json(told)
        if len(str(performed)) > PERFORMED_CHARACTERS:
            return Status.RESOURCE_LIMITATION
        at = self._now()
        changed = replace(item, performed=performed, changed_at=at)
        workitems.save(c, changed)
        # whoever reports progress still reads: the claim runs from now
        worklist.set_reading_state(
            c, item.study_instance_uid, ReadingState.BEING_READ, at, caller.name, item.performer or caller.name
        )
        if _BY_PERFORMER[0] in told:
            self._announce(c, changed, EventType.PROGRESS_REPORT, events.progress_report(changed), at)
        return _others(data, *_BY_PERFORMER)

    def _advance(
        self, c: Any, item: Workitem, state: ItemState, at: datetime, performer: str, transaction_uid: str
    ) -> Workitem:
        changed = replace(item, state=state, changed_at=at, performer=performer[:128], transaction_uid=transaction_uid)
        return self._changed(c, item, changed, at, performer)

    def _end(self, c: Any, item: Workitem, state: ItemState, ended: Ended | None, at: datetime, actor: str) -> Workitem:
        performed = item.performed
        if state is ItemState.CANCELED:
            performed = events.with_cancellation(performed, at)
        changed = replace(item, state=state, ended=ended, changed_at=at, performed=performed)
        return self._changed(c, item, changed, at, actor)

    def _changed(self, c: Any, old: Workitem, new: Workitem, at: datetime, actor: str) -> Workitem:
        workitems.save(c, new)
        words = f"{new.state.value} {new.uid}" + (f": {new.ended.value}" if new.ended else "")
        audit.record(c, at, actor, "workitem state", new.study_instance_uid, old.state.value, words)
        self._announce(c, new, EventType.STATE_REPORT, events.state_report(new), at)
        return new

    def _announce(self, c: Any, item: Workitem, kind: EventType, body: Json, at: datetime) -> int:
        """Queue an event for everybody who watches this item. Returns how many that are."""
        wishes: dict[str, list[Subscription]] = {}
        for wish in workitems.subscriptions(c):
            if wish.ae_title in self._known:
                wishes.setdefault(wish.ae_title, []).append(wish)
        told = 0
        for ae_title, held in wishes.items():
            own = [w for w in held if w.scope == item.uid]
            if own[0].subscribed if own else any(self._concerns(c, w, item) for w in held):
                workitems.queue_event(c, ae_title, item.uid, kind, body, at)
                told += 1
        return told

    def _concerns(self, c: Any, wish: Subscription, item: Workitem) -> bool:
        """Whether a subscription to all workitems covers this one."""
        if wish.scope not in WELL_KNOWN or (wish.suspended_at is not None and item.created_at > wish.suspended_at):
            return False
        if not wish.keys:
            return True
        keys = dataset.from_json(wish.keys)
        return any(matches(keys, self._data_set(i, study, None)) for i, study in workitems.described(c, uid=item.uid))


def _others(data: Dataset, *taken: str) -> Status:
    """A warning when the request held more than what was taken."""
    known = {*taken, *_NAMES_THE_REQUEST}
    return Status.OPTIONAL_NOT_SUPPORTED if any(e.keyword not in known for e in data) else Status.SUCCESS


def _one_uid(value: Any) -> str:
    return str(value) if isinstance(value, str) and is_uid(str(value)) else ""


def _study_in(keys: Dataset) -> str:
    """The study that a query names, so that not every workitem is looked at."""
    for part in keys.get("ReferencedRequestSequence") or ():
        found = _one_uid(part.get("StudyInstanceUID"))
        if found:
            return found
    return _one_uid(keys.get("StudyInstanceUID"))
