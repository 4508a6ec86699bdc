"""The way to people, inside the delivery role: one thread a contact, with the retries and the gate of the worklists of others."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from triage_node.config.contacts import ContactSettings
from triage_node.delivery.notice import Notice
from triage_node.delivery.people import ContactSender
from triage_node.domain.errors import DeliveryError, PermanentDeliveryError, TransientDeliveryError
from triage_node.domain.message import MessageKind, MessageRow
from triage_node.processes.messages import MessageQueue, why_shut
from triage_node.processes.notices import Notices
from triage_node.processes.running import Running, now
from triage_node.store.worklist import ListedStudy
from triage_node.worklist.adapter import Answer, Outcome
from triage_node.worklist.gate import Listener

log = logging.getLogger(__name__)


class NoticeQueue(MessageQueue):
    """The way to one contact."""

    def __init__(self, running: Running, contact: ContactSettings) -> None:
        super().__init__(running, contact, lambda c: ContactSender(c.url_file, c.timeout_s))  # type: ignore[arg-type]
        self._notices = Notices(running.settings, self._simulation)

    def _talk(self, row: MessageRow) -> Answer:
        """Raises: DeliveryError."""
        try:
            said = Notice(str(row.payload["title"]), str(row.payload["body"]))
        except KeyError as error:
            raise PermanentDeliveryError(f"the stored notice cannot be read: {error!r}") from error
        try:
            self._adapter.send(row.message_id, said)  # type: ignore[attr-defined]
        except DeliveryError:
            raise
        except Exception as error:
            log.exception("contact=%s message=%s", row.peer, row.message_id)
            raise TransientDeliveryError(type(error).__name__) from error
        # the service has it; whether a person looked is asked of the page and the reports, not of the service
        return Answer(Outcome.ACKNOWLEDGED)

    def _said_anew(self, row: MessageRow, listed: ListedStudy) -> Mapping[str, Any] | None:
        anew = self._notices.again(row, listed, now())
        return None if anew is None else anew.payload

    def _shut(self, row: MessageRow) -> str:
        if row.kind is not MessageKind.NOTIFY:
            return "a contact gets notices only"
        try:
            here = not self._simulation or self._adapter.stays_here()  # type: ignore[attr-defined]
        except DeliveryError:
            here = True  # no URL, so nothing leaves either; the try says what is wrong
        return why_shut(self._running, Listener(row.peer, here), row.study_instance_uid, self._simulation)


def threads(running: Running) -> list[threading.Thread]:
    """One for each contact."""
    return [threading.Thread(target=NoticeQueue(running, c).run, name=c.name) for c in running.settings.contacts]
