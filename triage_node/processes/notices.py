"""From a decision to the notices for people, once for each contact (DESIGN.md sections 3 and 4).

The same outbox, gate and expiry as for the worklists of others. What is kept in a row is what the site allows to be sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from triage_node.config.contacts import ContactSettings
from triage_node.config.schema import Settings
from triage_node.delivery.notice import notice, who
from triage_node.domain.finding import FindingDecision
from triage_node.domain.message import MessageKind, MessageRow, NewMessage, message_id, was_told
from triage_node.domain.priority import Mode
from triage_node.domain.viewer_link import viewer_link
from triage_node.store.worklist import ListedStudy
from triage_node.worklist.gate import Listener, may_raise


class Notices:
    """Knows who is notified, and what may be said."""

    def __init__(self, settings: Settings, simulation: bool) -> None:
        self._contacts, self._link, self._simulation = settings.contacts, settings.web.study_link, simulation
        self._zone = ZoneInfo(settings.node.time_zone)
        self._expires_after = timedelta(hours=settings.worklist.expires_after_h)

    @property
    def orders(self) -> frozenset[int]:
        return frozenset(c.order for c in self._contacts)

    def first(
        self,
        listed: ListedStudy,
        revision: int,
        decision: FindingDecision,
        mode: Mode,
        before: Sequence[MessageRow],
        at: datetime,
    ) -> list[NewMessage]:
        """What follows from a decision: nothing below the notify operating point, where the gate is shut, or told `before`."""
        if listed.row.flag is None or not decision.flagged:
            return []
        if not decision.probability >= decision.operating_point.notify_probability:
            return []
        urgency = listed.row.flag.urgency
        first = min(self.orders, default=0)
        found = []
        for contact in self._contacts:
            # where its URL leads is not read here: the secret belongs to the delivery role, whose gate asks again
            here = Listener(contact.name, loopback=True)
            allowed, _ = may_raise(here, listed.row, decision.evidence, mode, self._simulation)
            if contact.order == first and allowed and not was_told(before, contact.name, MessageKind.NOTIFY, urgency):
                found.append(self._message(contact, listed, revision, at, ""))
        return found

    def passed_on(self, listed: ListedStudy, revision: int, order: int, why: str, at: datetime) -> list[NewMessage]:
        """For the contacts of one order, because nobody opened the study."""
        return [self._message(c, listed, revision, at, why) for c in self._contacts if c.order == order]

    def again(self, row: MessageRow, listed: ListedStudy, at: datetime) -> NewMessage | None:
        """What a notice says under the identity that holds now; None where it names the study as it is called."""
        contact = next((c for c in self._contacts if c.name == row.peer), None)
        if contact is None or listed.row.flag is None:
            return None
        anew = self._message(contact, listed, row.revision, at, str(row.payload.get("why", "")))
        # what an earlier release wrote does not tell by itself whom it names
        return None if row.payload.get("who", anew.payload["who"]) == anew.payload["who"] else anew

    def _link_to(self, listed: ListedStudy, contact: ContactSettings) -> str:
        # a link names a study by no more than the words do
        numbers = (listed.identity.accession_number, listed.identity.patient_id)
        told = numbers[: ("none", "accession", "patient").index(contact.identifiers)]
        return viewer_link(self._link, listed.row.study_instance_uid, *told)

    def _message(
        self, contact: ContactSettings, listed: ListedStudy, revision: int, at: datetime, why: str
    ) -> NewMessage:
        uid, flag = listed.row.study_instance_uid, listed.row.flag
        assert flag is not None
        said = notice(
            flag,
            listed.identity,
            contact.identifiers,
            self._link_to(listed, contact),
            flag.raised_at.astimezone(self._zone),
            self._simulation,
            why,
        )
        return NewMessage(
            contact.name,
            MessageKind.NOTIFY,
            message_id(uid, revision, contact.name, MessageKind.NOTIFY),
            uid,
            revision,
            {
                "title": said.title,
                "body": said.body,
                "urgency": flag.urgency.value,
                "order": contact.order,
                "why": why,
                "who": who(listed.identity, contact.identifiers),
            },
            at + self._expires_after,
        )
