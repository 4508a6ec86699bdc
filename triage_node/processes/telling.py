"""From a decision to the messages that tell the worklists of others, once for each peer (DESIGN.md sections 3 and 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from triage_node.config.schema import Settings
from triage_node.config.worklist_peers import PeerSettings
from triage_node.domain.finding import FindingDecision
from triage_node.domain.message import MessageKind, MessageRow, NewMessage, message_id, was_told
from triage_node.domain.priority import Flag, Mode
from triage_node.domain.study import StudyIdentity
from triage_node.domain.viewer_link import viewer_link
from triage_node.processes.notices import Notices
from triage_node.processes.wiring import listener
from triage_node.store.worklist import ListedStudy
from triage_node.worklist.adapter import RaiseMessage
from triage_node.worklist.gate import may_raise
from triage_node.worklist.payload import as_json


class Teller:
    """Knows which worklists are told what; `notices` knows the people."""

    def __init__(self, settings: Settings, simulation: bool) -> None:
        self._peers, self._link, self._simulation = settings.worklist_peers, settings.web.study_link, simulation
        self._expires_after = timedelta(hours=settings.worklist.expires_after_h)
        self.notices = Notices(settings, simulation)

    def raises(
        self,
        listed: ListedStudy,
        revision: int,
        decision: FindingDecision,
        mode: Mode,
        before: Sequence[MessageRow],
        at: datetime,
        order_class: str = "",
    ) -> list[NewMessage]:
        """What follows from a decision: nothing where the gate is shut, or where the peer was told as much `before`.

        `order_class`: what an order message told of it; empty when none did.
        """
        flag = listed.row.flag
        if flag is None:
            return []
        found = []
        for peer in self._peers:
            allowed, _ = may_raise(listener(peer), listed.row, decision.evidence, mode, self._simulation)
            if not allowed or was_told(before, peer.name, MessageKind.RAISE, flag.urgency):
                continue
            told = replace(self._message(peer, listed, revision, decision, flag, at), order_class=order_class)
            found.append(
                NewMessage(
                    peer.name,
                    MessageKind.RAISE,
                    told.message_id,
                    told.study_instance_uid,
                    revision,
                    as_json(told),
                    at + self._expires_after,
                )
            )
        return found

    def _message(
        self,
        peer: PeerSettings,
        listed: ListedStudy,
        revision: int,
        decision: FindingDecision,
        flag: Flag,
        at: datetime,
    ) -> RaiseMessage:
        uid, ml = listed.row.study_instance_uid, decision.hematoma_volume_ml
        told = RaiseMessage(
            message_id=message_id(uid, revision, peer.name, MessageKind.RAISE),
            study_instance_uid=uid,
            accession_number="",
            urgency=flag.urgency,
            words=f"{flag.words}. Not for diagnostic use.",
            result_revision=revision,
            finding=decision.finding,
            subtype=decision.subtypes[0] if decision.subtypes else "",
            probability=decision.probability if math.isfinite(decision.probability) else None,
            hematoma_volume_ml=ml if math.isfinite(ml) and ml > 0 else None,
            evidence=decision.evidence.value,
            simulation=self._simulation,
            link=viewer_link(self._link, uid, listed.identity.accession_number, listed.identity.patient_id),
            issued_at=at,
        )
        return under(told, listed.identity, peer)


def under(told: RaiseMessage, identity: StudyIdentity, peer: PeerSettings) -> RaiseMessage:
    """The same message under this identity, of which it says what the peer may know."""
    allowed = frozenset(peer.identifiers)
    by_id = "patient_id" in allowed
    return replace(
        told,
        accession_number=identity.accession_number,
        patient_id=identity.patient_id if by_id else "",
        issuer_of_patient_id=identity.issuer_of_patient_id if by_id else "",
        patient_name=identity.patient_name if "name" in allowed else "",
        patient_birth_date=identity.patient_birth_date if "birth_date" in allowed else "",
        patient_sex=identity.patient_sex if "sex" in allowed else "",
    )
