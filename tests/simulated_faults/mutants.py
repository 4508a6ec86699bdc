"""The product broken on purpose, one invariant at a time: what the simulation is for is to find each of these.

A mutant takes the place of functions of the product, as a careless change of them would.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from sqlalchemy import insert, text, update

from triage_node.domain.message import MessageState
from triage_node.domain.study import StudyState
from triage_node.instances import blob_file, intake
from triage_node.processes import analysis, corrections, decision, messages, reporting
from triage_node.processes.hosts import lease
from triage_node.report.request import ResultIdentity
from triage_node.store import audit, audit_chain, outbox, results, studies, worklist
from triage_node.store import messages as stored_messages
from triage_node.store.schema import worklist_move, worklist_row
from triage_node.worklist import gate
from triage_node.worklist.adapter import Answer, Outcome

Patch = tuple[object, str, object]


@dataclass(frozen=True, slots=True)
class Mutant:
    """`breaks`: how the name of the check begins that must find it. `seed` found it last, and is tried first."""

    name: str
    breaks: str
    patches: Callable[[], Iterator[Patch]]
    seed: int = 0


@contextlib.contextmanager
def broken_by(mutant: Mutant) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for target, name, stand_in in mutant.patches():
            stack.enter_context(patch.object(target, name, stand_in))
        yield


def _os_with(**changed: Callable[..., Any]) -> Any:
    class Os:
        def __getattr__(self, name: str) -> Any:
            return changed.get(name) or getattr(real, name)

    real = blob_file.os
    return Os()


def _answers_before_the_flush() -> Iterator[Patch]:
    yield blob_file, "os", _os_with(fsync=lambda descriptor: None)


def _flushes_no_folder() -> Iterator[Patch]:
    real = blob_file.os

    def fsync(descriptor: int) -> None:
        if not real.path.isdir(f"/proc/self/fd/{descriptor}"):
            real.fsync(descriptor)

    yield blob_file, "os", _os_with(fsync=fsync)


def _forgets_rows() -> Iterator[Patch]:
    """No re-index at the start: what was answered before a kill stays without a row."""
    from triage_node.processes import ingest

    yield ingest, "reindex", lambda *_: 0


def _encodes_anew() -> Iterator[Patch]:
    real = blob_file.BlobFile.filled

    def filled(self: blob_file.BlobFile, count: int) -> None:
        held = bytes(self._view[self._held : self._held + count])
        self._view[self._held : self._held + count] = held.replace(b"SIMULATED", b"Simulated")
        real(self, count)

    yield blob_file.BlobFile, "filled", filled


def _decides_without_messages() -> Iterator[Patch]:
    yield decision.messages, "put", lambda *_, **__: 0


def _queues_objects_later() -> Iterator[Patch]:
    """The rows of the outbox in a transaction of their own, which a kill can keep from coming."""
    real = reporting.outbox.put

    def put(c: Any, peer: str, objects: Any, at: Any, fallbacks: Any = None) -> None:
        waiting.append((peer, objects, at, fallbacks))

    def settle(c: Any, uid: str, at: Any) -> None:
        real_settle(c, uid, at)
        for peer, objects, when, fallbacks in waiting:
            if studies.state_of(c, uid) is not StudyState.ANALYSING:
                later.append((peer, objects, when, fallbacks))
        waiting.clear()

    def claim_batch(store: Any, *how: Any, **more: Any) -> Any:
        with store.write() as c:
            while later:
                real(c, *later.pop())
        return real_claim(store, *how, **more)

    waiting: list[Any] = []
    later: list[Any] = []
    real_settle, real_claim = outbox.settle, outbox.claim_batch
    yield outbox, "put", put
    yield outbox, "settle", settle
    yield outbox, "claim_batch", claim_batch


def _names_objects_by_chance() -> Iterator[Patch]:
    yield ResultIdentity, "uid", lambda self, *_: f"2.25.{uuid.uuid4().int}"
    yield analysis.Analysis, "_is_reported", lambda *_: False


def _lowers_on_a_later_revision() -> Iterator[Patch]:
    real = worklist.raise_flag

    def raise_flag(c: Any, uid: str, flag: Any) -> bool:
        here = update(worklist_row).where(worklist_row.c.study_instance_uid == uid)
        return real(c, uid, flag) or bool(c.execute(here.values(flag_urgency=flag.urgency.value)).rowcount)

    yield worklist, "raise_flag", raise_flag


def _withdraws_on_a_later_revision() -> Iterator[Patch]:
    real = decision.commit_decision

    def commit_decision(store: Any, record: Any, found: Any, flag: Any, *how: Any) -> None:
        real(store, record, found, flag, *how)
        if flag is None:
            with store.write() as c:
                worklist.end_flag(c, record.study_instance_uid, "node", record.created_at)

    yield analysis, "commit_decision", commit_decision


def _hides_what_was_declined() -> Iterator[Patch]:
    real = studies.status_words
    yield (
        studies,
        "status_words",
        lambda state, *how, **more: "" if state is StudyState.DECLINED else real(state, *how, **more),
    )


def _moves_without_audit() -> Iterator[Patch]:
    def record_moves(c: Any, moves: list[Any]) -> None:
        for m in moves:
            c.execute(insert(worklist_move).values({name: getattr(m, name) for name in type(m).__slots__}))

    yield worklist, "record_moves", record_moves


def _breaks_the_chain() -> Iterator[Patch]:
    """Each entry is hashed as if it were the first; who checks the chain does it as ever."""
    chain = audit_chain.digest
    first = SimpleNamespace(START=audit_chain.START, digest=lambda _, *said: chain(audit_chain.START, *said))
    yield audit, "audit_chain", first


def _tells_no_model() -> Iterator[Patch]:
    real = results.save
    yield results, "save", lambda c, record, found: real(c, replace(record, bundle_version=""), found)


def _names_files_by_uid() -> Iterator[Patch]:
    real = blob_file.BlobFile._open

    def _open(self: blob_file.BlobFile) -> None:
        real(self)
        uid = re.match(rb"[0-9.]*", bytes(self._view[132 : self._held]).split(b"UI")[2][2:])
        renamed = f"{self._archive.blobs}/{uid[0].decode() if uid else ''}.tmp"
        if "built" not in renamed:
            blob_file.os.rename(self._temporary, renamed)
            self._temporary = renamed

    yield blob_file.BlobFile, "_open", _open
    yield intake, "is_uid", lambda _: True


def _takes_silence_for_an_answer() -> Iterator[Patch]:
    real = messages.after_error

    def after_error(error: Any, row: Any, at: Any, resume_at: Any, jitter: Any) -> Any:
        return replace(real(error, row, at, resume_at, jitter), state=MessageState.ACKNOWLEDGED)

    yield messages, "after_error", after_error


def _gives_back_what_it_wrote_itself() -> Iterator[Patch]:
    real = messages.raised_answer

    def raised_answer(before: Any) -> Answer:
        told = real(before)
        return Answer(Outcome.ACKNOWLEDGED, told.written, told.written)

    yield messages, "raised_answer", raised_answer


def _opens_the_gate() -> Iterator[Patch]:
    from triage_node.processes import notices, telling

    for module in (gate, messages, notices, telling):
        yield module, "may_raise", lambda *_: (True, "")


def _lists_no_old_identity() -> Iterator[Patch]:
    yield corrections, "_stale", lambda *_: {}


def _changes_results() -> Iterator[Patch]:
    real = results.save

    def save(c: Any, record: Any, found: Any) -> None:
        real(c, record, found)
        c.execute(
            text("UPDATE result SET probability = probability / 2 WHERE revision < :now"), {"now": record.revision}
        )

    yield results, "save", save


def _never_takes_over() -> Iterator[Patch]:
    yield studies, "take_from_dead", lambda *_: 0
    yield lease, "LEASE", timedelta(days=365)


def _never_frees_messages() -> Iterator[Patch]:
    yield stored_messages, "expire", lambda *_: 0
    yield (
        messages,
        "after_error",
        lambda error, row, at, *_: messages.NextStep(MessageState.PENDING, at.replace(year=2999), ""),
    )


MUTANTS = (
    Mutant("answers before the flush", "1 ", _answers_before_the_flush),
    Mutant("flushes no folder", "1 ", _flushes_no_folder),
    Mutant("forgets what had no row", "1 ", _forgets_rows),
    Mutant("encodes anew", "2 ", _encodes_anew),
    Mutant("decides without messages", "3 a stage", _decides_without_messages),
    Mutant("queues objects later", "3 a stage", _queues_objects_later),
    Mutant("names objects by chance", "3 UIDs", _names_objects_by_chance, 1),
    Mutant("lowers a flag on a later revision", "4 ", _lowers_on_a_later_revision, 8),
    Mutant("withdraws a flag on a later revision", "4 ", _withdraws_on_a_later_revision, 33),
    Mutant("hides what was declined", "5 ", _hides_what_was_declined, 9),
    Mutant("moves without audit", "6 ", _moves_without_audit, 2),
    Mutant("breaks the chain", "6 ", _breaks_the_chain),
    Mutant("tells no model", "7 ", _tells_no_model),
    Mutant("names files by UID", "8 ", _names_files_by_uid),
    Mutant("gives back what it wrote itself", "9 ", _gives_back_what_it_wrote_itself),
    Mutant("takes silence for an answer", "10 ", _takes_silence_for_an_answer, 16),
    Mutant("opens the gate", "11 ", _opens_the_gate, 3),
    Mutant("lists no old identity", "14 ", _lists_no_old_identity, 25),
    Mutant("changes results", "20 ", _changes_results, 3),
    Mutant("never takes over", "liveness", _never_takes_over),
    Mutant("never frees messages", "liveness", _never_frees_messages, 14),
)
