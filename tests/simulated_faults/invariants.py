"""What must hold after every seed, asked of what is stored, of the disk and of the world outside. Numbers: DESIGN.md section 1;
from 9 on ARCHITECTURE.md.

Each check yields a sentence for each thing that does not hold.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Row, Table, select

from tests.simulated_faults import seams
from tests.simulated_faults.history import Change, History
from tests.simulated_faults.ledger import Ledger
from tests.simulated_faults.node import Node
from tests.simulated_faults.peers import ROUTINE, priority_of
from tests.simulated_faults.standins import said_in
from tests.simulated_faults.studies import Verdict
from tests.simulated_faults.world import World
from triage_node.domain.delivery import OUTBOX_FINAL, ObjectKind
from triage_node.domain.finding import EvidenceLevel
from triage_node.domain.message import MessageKind, MessageState
from triage_node.domain.mode_switch import ModeAction
from triage_node.domain.priority import Mode, ReadingState, Urgency
from triage_node.domain.study import StudyState
from triage_node.instances.archive import Archive
from triage_node.processes.corrections import to_correct
from triage_node.processes.wiring import built_folder
from triage_node.store import audit_chain, meta, worklist
from triage_node.store.engine import Store
from triage_node.store.schema import (
    built_object,
    finding,
    instance,
    message,
    outbox,
    policy,
    result,
    study,
    worklist_row,
)

ENDED = frozenset(
    {
        StudyState.DELIVERED,
        StudyState.DECLINED,
        StudyState.OUT_OF_SCOPE,
        StudyState.QUARANTINED,
        StudyState.FAILED,
    }
)
NOT_ANALYSED = ENDED - {StudyState.DELIVERED}
_FINAL = [s.value for s in OUTBOX_FINAL]
_RANK = [u.value for u in Urgency]
_FILES = re.compile(
    r"(blobs|built/blobs)(/[0-9a-f]{2}(/[0-9a-f]{64}\.dcm)?)?|(blobs|built/blobs)/[0-9]+-([0-9]+|probe)(@[^/]+)?\.tmp|built|pager"
    r"|triage\.db(-wal|-shm)?|\."
)


@dataclass(frozen=True)
class Seen:
    """A seed that came to its end."""

    node: Node
    ledger: Ledger
    around: seams.Surroundings
    world: World

    @property
    def store(self) -> Store:
        return self.node.store

    @cached_property
    def history(self) -> History:
        return History(self.store)

    def rows(self, table: Table) -> list[Row[Any]]:
        with self.store.read() as c:
            return list(c.execute(select(table)).all())

    @cached_property
    def studies(self) -> dict[str, Row[Any]]:
        return {r.study_instance_uid: r for r in self.rows(study)}

    @cached_property
    def listed(self) -> dict[str, Row[Any]]:
        return {r.study_instance_uid: r for r in self.rows(worklist_row)}

    @cached_property
    def instances(self) -> dict[str, Row[Any]]:
        return {r.sha256: r for r in self.rows(instance)}

    @cached_property
    def results(self) -> list[Row[Any]]:
        return sorted(self.rows(result), key=lambda r: (r.study_instance_uid, r.revision))

    @cached_property
    def messages(self) -> list[Row[Any]]:
        return self.rows(message)

    @cached_property
    def simulation(self) -> bool:
        return meta.is_simulation(self.store)

    @property
    def folder(self) -> Path:
        return self.node.settings.store.data_folder


def unsettled(store: Store, ledger: Ledger) -> str:
    """What is still under way, in words; empty when nothing is."""
    with store.read() as c:
        without = ledger.answered.keys() - set(c.execute(select(instance.c.sha256)).scalars())
        if without:
            return f"{len(without)} instances were answered and have no row"
        states = c.execute(select(study.c.study_instance_uid, study.c.state)).tuples().all()
        found = [f"study {uid} is {state}" for uid, state in states if StudyState(state) not in ENDED]
        waits = c.execute(select(outbox.c.kind, outbox.c.peer).where(outbox.c.state.not_in(_FINAL))).tuples().all()
        found += [f"{kind} waits for {peer}" for kind, peer in waits]
        pending = select(message.c.kind, message.c.peer).where(message.c.state == MessageState.PENDING.value)
        found += [f"{kind} waits for {peer}" for kind, peer in c.execute(pending).tuples().all()]
    return "; ".join(found[:5])


def check(seen: Seen) -> list[str]:
    """Every invariant that does not hold, in words. Whatever was not flushed is lost first."""
    lost = seen.around.disk.lose_power(everything=True)
    broken = []
    for number, holds in CHECKS.items():
        broken += [f"{number}: {words}" for words in holds(seen)]
    return broken if not broken or not lost else [*broken, f"({lost} files were not flushed at the end)"]


def _1_answered_is_durable(seen: Seen) -> Iterator[str]:
    for sha256, sent in seen.ledger.answered.items():
        row = seen.instances.get(sha256)
        if row is None:
            yield f"{sent.sop_instance_uid} was answered 0x0000 and has no row"
        elif row.source_removed_at is None and not Archive(seen.folder).path(sha256).exists():
            yield f"{sent.sop_instance_uid} was answered 0x0000 and its bytes are gone"
        elif (
            sha256 not in seen.ledger.spoiled
            and row.source_removed_at is None
            and not Archive(seen.folder).verify(sha256)
        ):
            yield f"{sent.sop_instance_uid} was answered 0x0000 and its bytes are damaged"


def _2_bytes_are_kept(seen: Seen) -> Iterator[str]:
    named = {s.sop_instance_uid for s in seen.ledger.sent.values()}
    for sha256, row in seen.instances.items():
        path, sent = Archive(seen.folder).path(sha256), seen.ledger.sent.get(sha256)
        if sent is None and row.sop_instance_uid in named:
            yield f"{row.sop_instance_uid} is stored with bytes that nobody sent"
        elif (
            sent is not None and sha256 not in seen.ledger.spoiled and path.exists() and path.read_bytes() != sent.file
        ):
            yield f"{row.sop_instance_uid} is stored with other bytes than were sent"
    by_name = Counter((r.sop_instance_uid, r.first) for r in seen.instances.values() if r.sop_instance_uid)
    for (uid, first), times in by_name.items():
        if first and times > 1:
            yield f"two contents of {uid} count as the first"


def _3_result_and_outbox_together(seen: Seen) -> Iterator[str]:
    for change in seen.history.of("result"):
        if not list(seen.history.beside(change, "revision")):
            yield f"revision {change.old} of {change.subject} was stored without becoming the study's"
        first_flag = any(not c.old for c in seen.history.beside(change, "urgency"))
        told = {c.new for c in seen.history.beside(change, "told")}
        if first_flag and _gate_was_open(seen, change) and not told >= set(seen.around.lists):
            yield f"revision {change.old} of {change.subject} raised a flag, and its transaction queued no message"
    for change in seen.history.of("object"):
        if not list(seen.history.beside(change, "due")):
            yield f"{change.old} of {change.subject} was stored, and its transaction queued it for nobody"
    files = Archive(built_folder(seen.node.settings))
    for row in seen.rows(built_object):
        if not files.path(row.sha256).exists() or not files.verify(row.sha256):
            yield f"{row.kind} of {row.study_instance_uid} has a row and no whole file"


def _gate_was_open(seen: Seen, decided: Change) -> bool:
    """Whether lists of others had to be told of a decision; False also where people shut the gate while it was made."""
    row = seen.listed[decided.subject]
    if not seen.simulation or seen.node.settings.worklist.mode is not Mode.ACTIVE or not row.live:
        return False
    before = [c for c in seen.history.of("state", "mode", "reading", "audit") if c.tx <= decided.tx]
    claimed = max(c.tx for c in before if c.what == "state" and c.subject == decided.subject and c.new == "analysing")
    modes = [c for c in before if c.what == "mode"]
    if any(c.tx >= claimed for c in modes) or (modes and modes[-1].subject == ModeAction.PAUSE.value):
        return False
    if row.live_words.startswith("raised by"):
        return False  # it was not live then
    readings = [c.new for c in before if c.what == "reading" and c.subject == decided.subject]
    return not readings or readings[-1] not in (ReadingState.READ.value, ReadingState.STATUS_UNKNOWN.value)


def _3_same_uid_same_object(seen: Seen) -> Iterator[str]:
    for (peer, uid), contents in seen.ledger.sent_there.items():
        if len(set(contents)) > 1:
            yield f"{peer} got {len(set(contents))} contents under {uid}"
    named: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for row in seen.rows(built_object):
        if row.kind not in (
            ObjectKind.NOT_ANALYSED_SC.value,
            ObjectKind.NOT_ANALYSED_SR.value,
            ObjectKind.REJECTION_NOTE.value,
        ):
            named[row.study_instance_uid, row.kind, row.revision].add(row.sop_instance_uid)
    for (uid, kind, revision), uids in named.items():
        if len(uids) > (2 if kind == ObjectKind.FINDINGS_SR.value else 1):
            yield f"{kind} of {uid} revision {revision} was built under {len(uids)} UIDs"


def _4_nothing_is_lowered(seen: Seen) -> Iterator[str]:
    for c in seen.history.of("urgency"):
        if c.old and (not c.new or _RANK.index(c.new) > _RANK.index(c.old)):
            yield f"the flag of {c.subject} went from {c.old} to {c.new or 'nothing'}"
    for c in seen.history.of("ended by"):
        if c.new and not c.new.startswith("reader "):
            yield f"the flag of {c.subject} was ended by {c.new}"
        raised_anew = list(seen.history.beside(c, "urgency"))
        restored = any(a.old == "flag restored" for a in seen.history.beside(c, "audit"))
        if c.old and not c.new and not raised_anew and not restored:
            yield f"the end of the flag of {c.subject} was undone by nobody"
    for c in seen.history.of("removed"):
        yield f"a row of {c.subject} was removed"
    for c in seen.history.of("revision"):
        if int(c.new) < int(c.old):
            yield f"{c.subject} went back to revision {c.new}"
    for uid, row in seen.listed.items():
        if row.flag_urgency and row.flag_ended_at is None and row.reading_state == ReadingState.STATUS_UNKNOWN.value:
            yield f"{uid} is flagged and left the list"
    yield from seen.ledger.notes


def _5_not_analysed_is_visible(seen: Seen) -> Iterator[str]:
    shown = {item.row.study_instance_uid: item.row for item in worklist.rows(seen.store)}
    decided = {r.study_instance_uid for r in seen.results}
    answered = Counter(
        sent.study_instance_uid for sha256, sent in seen.ledger.answered.items() if sha256 not in seen.ledger.spoiled
    )
    for uid, row in seen.studies.items():
        listed = seen.listed.get(uid)
        if listed is None:
            yield f"{uid} arrived and is on no list"
            continue
        left = listed.reading_state in (ReadingState.READ.value, ReadingState.STATUS_UNKNOWN.value)
        if uid not in shown and not left:
            yield f"{uid} is not shown, and nobody read it"
        words = listed.status_words
        if StudyState(row.state) in NOT_ANALYSED and not words.startswith(("not analysed", "objects not sent")):
            yield f"{uid} is {row.state}, and the list says {words!r}"
        if StudyState(row.state) in NOT_ANALYSED and not row.reason:
            yield f"{uid} is {row.state} without a reason"
        if StudyState(row.state) is StudyState.DELIVERED and uid not in decided:
            yield f"{uid} ended as analysed without a result"
    for uid, plan in seen.ledger.studies.items():
        if not answered[uid]:
            continue
        if uid not in seen.studies:
            yield f"{uid} was answered and is no study here"
        if plan.verdict == Verdict.NO_HEAD and uid in decided:
            yield f"{uid} cannot be analysed and has a result"
    said_negative = {
        r.study_instance_uid: r.revision for r in seen.rows(built_object) if r.kind == ObjectKind.NOT_FLAGGED_SR.value
    }
    flags = {(r.study_instance_uid, r.revision): r.flagged for r in seen.results}
    for uid, revision in said_negative.items():
        if flags.get((uid, revision), True):
            yield f"an SR says that {uid} was not flagged, and no result says so"


def _6_everything_is_audited(seen: Seen) -> Iterator[str]:
    verdict = audit_chain.verify(seen.store)
    if verdict.problem:
        yield verdict.problem
    wanted = {
        "state": "study ",
        "reading": "",
        "urgency": "flag ",
        "ended by": "flag ",
        "pin": "",
        "outbox": "object ",
        "message": "",
        "result": "decision",
        "move": "move (",
        "told": "",
        "correction": "identity corrected",
    }
    for change in seen.history.of(*wanted):
        actions = [a.old for a in seen.history.beside(change, "audit")]
        if not any(action.startswith(wanted[change.what]) for action in actions):
            yield f"{change.what} of {change.subject} went from {change.old!r} to {change.new!r} without an audit entry"
    moves = Counter(c.subject for c in seen.history.of("move"))
    audited = Counter(c.subject for c in seen.history.of("audit") if c.old.startswith("move ("))
    if moves != audited:
        yield f"{moves.total()} moves and {audited.total()} entries of moves"


def _7_numbers_have_a_source(seen: Seen) -> Iterator[str]:
    versions = {r.version for r in seen.rows(policy)}
    findings = {r.result_id: r for r in seen.rows(finding)}
    for r in seen.results:
        found = findings.get(r.id)
        named = r.bundle_name and r.bundle_version and len(r.bundle_digest) == 64 and r.runtime and r.config_digest
        if not named or r.policy_version not in versions or found is None:
            yield f"revision {r.revision} of {r.study_instance_uid} does not say what it comes from"
        elif found.raise_probability is None or found.evidence not in list(EvidenceLevel):
            yield f"revision {r.revision} of {r.study_instance_uid} names neither operating point nor evidence"
    probability = {(r.study_instance_uid, r.revision): r.probability for r in seen.results}
    for contents in seen.ledger.sent_there.values():
        said = said_in(contents[0])
        if "probability" not in said:
            continue
        if (
            not said.get("model")
            or not said.get("evidence")
            or said.get("policy") not in versions
            or not said.get("point")
        ):
            yield f"{said['kind']} of {said['study']} left without saying what it comes from"
        if said["probability"] != probability.get((said["study"], said["revision"])):
            yield f"{said['kind']} of {said['study']} says another number than the result of its revision"
    for m in seen.messages:
        if m.kind == MessageKind.RAISE.value and "Not for diagnostic use" not in m.payload["words"]:
            yield f"a message about {m.study_instance_uid} does not say that it is no diagnosis"


def _8_no_name_becomes_a_path(seen: Seen) -> Iterator[str]:
    names = set(seen.around.disk.opened)
    for folder, _, files in os.walk(seen.folder):
        names |= {os.path.normpath(os.path.join(os.path.relpath(folder, seen.folder), f)) for f in files}
    for name in sorted(names):
        if not _FILES.fullmatch(name):
            yield f"a file is named {name!r}"


def _9_one_effect(seen: Seen) -> Iterator[str]:
    for name, ris in seen.around.lists.items():
        for uid, order in ris.orders.items():
            mine = [m for m in seen.messages if m.study_instance_uid == uid and m.peer == name]
            final = [m for m in mine if m.state == MessageState.ACKNOWLEDGED.value]
            row = seen.listed[uid]
            if not final or order.is_read:
                continue
            if final[-1].kind == MessageKind.WITHDRAW.value and order.now != ROUTINE:
                yield f"{name} took {uid} back and holds {order.now}"
            if final[-1].kind == MessageKind.RAISE.value and final[-1] is mine[-1] and row.flag_ended_at is None:
                wanted = priority_of(final[-1].payload["urgency"])
                if order.now < wanted:
                    yield f"{name} acknowledged {wanted} for {uid} and holds {order.now}"


def _10_told_is_said_on_an_answer(seen: Seen) -> Iterator[str]:
    told = {(peer, name) for _, peer, name, _ in seen.ledger.told}
    for m in seen.messages:
        is_said = m.state == MessageState.ACKNOWLEDGED.value and m.kind != MessageKind.WITHDRAW.value
        if is_said and (m.peer, m.message_id) not in told:
            yield f"{m.kind} of {m.study_instance_uid} counts as acknowledged by {m.peer}, which never saw it"


def _11_the_gate_holds(seen: Seen) -> Iterator[str]:
    if seen.simulation and seen.node.settings.worklist.mode is Mode.ACTIVE:
        return
    if seen.ledger.told:
        yield f"{len(seen.ledger.told)} messages went out below E2"
    if any(peer == "pacs" for peer, _ in seen.ledger.sent_there):
        yield "an object went to a clinical archive below E2"


def _14_old_identities_are_listed(seen: Seen) -> Iterator[str]:
    for uid in {c.subject for c in seen.history.of("correction")}:
        current = seen.studies[uid].identity
        listed = {entry.uid for entry in to_correct(seen.store, uid, shows_names=True)}
        for (peer, name), contents in seen.ledger.sent_there.items():
            said = said_in(contents[0])
            if said["study"] != uid or said["kind"] == ObjectKind.REJECTION_NOTE.value:
                continue
            if said["patient"] != [current["patient_id"], current["accession_number"]] and name not in listed:
                yield f"{said['kind']} of {uid} lies at {peer} under an old identity, and nobody is told"


def _20_what_is_written_stays(seen: Seen) -> Iterator[str]:
    for c in seen.history.of("changed for ever"):
        yield f"a row of {c.subject} was changed"


CHECKS: dict[str, Callable[[Seen], Iterator[str]]] = {
    "1 answered means durable": _1_answered_is_durable,
    "2 bytes are kept as received": _2_bytes_are_kept,
    "3 a stage commits its outbox rows with itself": _3_result_and_outbox_together,
    "3 UIDs are deterministic": _3_same_uid_same_object,
    "4 the AI never lowers": _4_nothing_is_lowered,
    "5 not analysed is visible": _5_not_analysed_is_visible,
    "6 everything is audited": _6_everything_is_audited,
    "7 every number has a source": _7_numbers_have_a_source,
    "8 no identifier becomes a path": _8_no_name_becomes_a_path,
    "9 one effect at the lists of others": _9_one_effect,
    "10 told is said on an answer": _10_told_is_said_on_an_answer,
    "11 the evidence gate holds": _11_the_gate_holds,
    "14 what left under an old identity is listed": _14_old_identities_are_listed,
    "20 what is versioned is never changed": _20_what_is_written_stays,
}
