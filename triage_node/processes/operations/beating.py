"""The scheduler's side of the heartbeat: send, look whether everything arrived as it should, erase.

One is on its way at a time: where the node is stuck, heartbeats do not add to what waits. What the model said and what lies in the
sink are checked; then nothing is left but one line and the audit trail.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime, timedelta
from functools import cached_property

from triage_node.blobs.opened import open_blobs
from triage_node.domain.delivery import OutboxRow, OutboxState
from triage_node.domain.study import StudyState
from triage_node.processes.operations import sink
from triage_node.processes.operations.made_up import MadeUp
from triage_node.processes.operations.names import CALLING_AE_TITLE
from triage_node.processes.operations.own_port import NotTaken, own_address, send
from triage_node.processes.running import Running, now
from triage_node.processes.wiring import built_folder
from triage_node.report import display
from triage_node.store import heartbeat, operations_synthetic, outbox, results, studies
from triage_node.store.operations_synthetic import Run

log = logging.getLogger(__name__)

PATIENCE = timedelta(minutes=10)
"""A study that has not come through by then has failed; it may still be erased later."""
KEPT = timedelta(days=30)
_ROWS_ARE_THERE = timedelta(seconds=30)
"""Rows are written within a second of an answer; a run of which nothing came by then leaves nothing behind."""
_ENDED = frozenset(
    {
        StudyState.DELIVERED,
        StudyState.DECLINED,
        StudyState.OUT_OF_SCOPE,
        StudyState.QUARANTINED,
        StudyState.FAILED,
    }
)


class Heartbeat:
    """One per scheduler. `tick` may be called as often as one likes."""

    def __init__(self, running: Running) -> None:
        self._running, self._store, self._settings = running, running.store, running.settings
        self._blobs = open_blobs(running.settings.store)
        self._every = timedelta(minutes=running.settings.operations.heartbeat_min)
        self._began = now()

    @cached_property
    def _made_up(self) -> MadeUp:
        return MadeUp()

    def tick(self) -> None:
        at = now()
        on_the_way = operations_synthetic.unfinished(self._store)
        for run in on_the_way:
            self._look(run, at)
        if self._every and not on_the_way and at - self._last_sent() >= self._every:
            self._send()
            operations_synthetic.forget(self._store, at - KEPT)

    def _last_sent(self) -> datetime:
        runs = operations_synthetic.last(self._store, 1)
        return runs[0].written_at if runs else self._began

    def _send(self) -> None:
        data_sets = self._made_up.data_sets(now())
        uid = str(data_sets[0].StudyInstanceUID)
        listener = self._settings.listener
        operations_synthetic.announce(self._store, uid, CALLING_AE_TITLE, own_address(listener.host), now())
        try:
            send(listener, self._port(), data_sets)
        except (NotTaken, OSError) as error:
            self._conclude(uid, False, str(error) or type(error).__name__)

    def _port(self) -> int:
        """As the ingest process tells it: the configured one may be 0."""
        _, said = heartbeat.heartbeats(self._store).get("ingest", (None, {}))
        return int(said.get("port", 0)) or self._settings.listener.port

    def _look(self, run: Run, at: datetime) -> None:
        uid = run.study_instance_uid
        study = studies.get(self._store, uid)
        is_over = study.state in _ENDED if study is not None else at - run.written_at > _ROWS_ARE_THERE
        if run.checked_at is None:
            if study is not None and study.state is StudyState.DELIVERED:
                self._conclude(uid, *self._judge(run))
            elif study is not None and is_over:
                self._conclude(uid, False, f"it ended as {study.state.value}: {study.reason}")
            elif at - run.written_at > PATIENCE:
                where = f"it is still {study.state.value}" if study is not None else "nothing of it was received"
                self._conclude(uid, False, f"after {PATIENCE // timedelta(minutes=1)} min {where}")
        elif is_over:
            self._erase(uid, at)

    def _judge(self, run: Run) -> tuple[bool, str]:
        if run.probability is None or run.raise_probability is None:
            return False, "it came to its end without a decision"
        if run.probability < run.raise_probability:
            return (
                False,
                f"the bleed was not flagged: probability {run.probability:.2f}, raised from {run.raise_probability:.2f}",
            )
        sent = [r for r in outbox.of_study(self._store, run.study_instance_uid) if r.state is OutboxState.DELIVERED]
        missing = {kind.value for kind in sink.KINDS} - {r.kind.value for r in sent}
        if missing:
            return False, f"flagged, but not sent: {', '.join(sorted(missing))}"
        altered = [r.kind.value for r in sent if not self._arrived(r)]
        if altered:
            return False, f"flagged, but not in the folder as built: {', '.join(sorted(altered))}"
        return True, f"flagged with probability {run.probability:.2f}, {len(sent)} objects arrived byte for byte"

    def _arrived(self, row: OutboxRow) -> bool:
        file = sink.path_of(self._settings, row.sop_instance_uid)
        self._blobs.refresh(file)
        try:
            data = file.read_bytes()
        except OSError:
            return False
        return hashlib.sha256(data).hexdigest() == row.sha256

    def _conclude(self, uid: str, passed: bool, words: str) -> None:
        operations_synthetic.conclude(self._store, uid, passed, words, now())
        log.log(logging.INFO if passed else logging.ERROR, "event=heartbeat passed=%s study=%s %s", passed, uid, words)

    def _erase(self, uid: str, at: datetime) -> None:
        if not operations_synthetic.is_synthetic(self._store, uid):
            return
        files, blobs = operations_synthetic.files_of(self._store, uid), self._blobs
        for part in display.parts(display.path_of(built_folder(self._settings), uid)):
            blobs.withdraw(part)
        for o in results.objects_of(self._store, uid):
            blobs.withdraw(sink.path_of(self._settings, o.sop_instance_uid))
        for shelf, digests in ((blobs.received, files.received), (blobs.built, files.built)):
            for sha256 in digests:
                shelf.remove(sha256)
        operations_synthetic.erase(self._store, uid, at)
