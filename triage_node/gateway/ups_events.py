"""N-EVENT-REPORT to subscribers, on associations that the node opens. Source: PS3.4 CC.2.4.

One thread a subscriber, so that one that is away holds up nobody else. What it has not taken waits in the store, oldest
first, and is sent when it is back; a report that it took but could not confirm comes twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from pynetdicom import build_role
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import UnifiedProcedureStepEvent, UnifiedProcedureStepPush

from triage_node.dimse.calling import GRACE_S, Callee, NotAssociated, associate, release
from triage_node.domain.errors import StoreError
from triage_node.domain.workitem import QueuedEvent
from triage_node.gateway.ups_scp import TRANSFER_SYNTAXES
from triage_node.workitems.plain import from_json

POLL_S, FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 1.0, 60.0
BATCH = 50

log = logging.getLogger(__name__)


class EventSender:
    """The way to one subscriber."""

    def __init__(
        self,
        callee: Callee,
        waiting: Callable[[str, int], Sequence[QueuedEvent]],
        taken: Callable[[int], None],
        stop: threading.Event,
    ) -> None:
        self._callee, self._waiting, self._taken, self._stop = callee, waiting, taken, stop

    def run(self) -> None:
        """Until told to stop. No error ends it: nobody else would send what waits for this subscriber."""
        wait_s = FIRST_WAIT_S
        while not self._stop.is_set():
            pause = POLL_S
            try:
                events = self._waiting(self._callee.ae_title, BATCH)
                if events:
                    self._send(events)
                    wait_s = FIRST_WAIT_S
                    continue
            except (NotAssociated, StoreError) as error:
                log.warning("subscriber=%s events wait: %s", self._callee.ae_title, error)
                pause, wait_s = wait_s, min(2 * wait_s, LONGEST_WAIT_S)
            self._stop.wait(pause)

    def _send(self, events: Sequence[QueuedEvent]) -> None:
        """Raises: NotAssociated, StoreError. What the subscriber refuses is dropped: the next report says all again."""
        context = build_context(UnifiedProcedureStepEvent, list(TRANSFER_SYNTAXES))
        role = build_role(UnifiedProcedureStepEvent, scp_role=True)
        association, line = associate(self._callee, [context], roles=[role])
        seconds = self._callee.response_timeout_s
        try:
            for number, event in enumerate(events, 1):
                with line.cut_after(seconds + GRACE_S):
                    answer, _ = association.send_n_event_report(
                        from_json(event.body),
                        event.event_type,
                        UnifiedProcedureStepPush,
                        event.workitem_uid,
                        msg_id=number,
                        meta_uid=UnifiedProcedureStepEvent,
                    )
                if "Status" not in answer:
                    raise NotAssociated("no answer to an event")
                if answer.Status:
                    log.warning("subscriber=%s refused an event: 0x%04X", self._callee.ae_title, answer.Status)
                self._taken(event.id)
                if self._stop.is_set():
                    return
        except (RuntimeError, ValueError) as error:  # pynetdicom: the association is gone, or its context was not taken
            raise NotAssociated(str(error)) from error
        finally:
            release(association, line, seconds)
