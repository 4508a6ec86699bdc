"""Every entry of the audit trail to an audit record repository, in order: from where it stands in the store, at least once."""

from __future__ import annotations

import logging
import time
from itertools import islice

from triage_node.config.audit import AuditSyslogSettings
from triage_node.delivery import syslog
from triage_node.delivery.audit_events import event_of
from triage_node.delivery.audit_message import MESSAGE_ID, Source, audit_message
from triage_node.domain.address import is_loopback
from triage_node.domain.audit import AuditEntry, AuditSearch, head_line
from triage_node.domain.errors import TransientDeliveryError
from triage_node.domain.identifiers import is_uid
from triage_node.domain.study import StudyIdentity
from triage_node.processes.auditing.names import SYSLOG
from triage_node.processes.running import Running, now
from triage_node.store import audit_chain, audit_position, audit_search, meta, studies

log = logging.getLogger(__name__)

BATCH = 500
HEAD_ID = "TriageNodeAuditHead"
"""MSGID of the head of the chain, for `triage-node audit verify --heads`."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 300.0


class Repository:
    """The way to the receiver that is configured; does nothing without one."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._again_at = 0.0
        self._wait_s = _FIRST_WAIT_S

    def tick(self) -> None:
        """Send what is there, unless the last try failed a moment ago."""
        wanted = self._running.settings.audit.syslog
        if wanted is None or time.monotonic() < self._again_at:
            return
        try:
            while not self._running.stop.is_set() and self.send_batch(wanted):
                self._wait_s = _FIRST_WAIT_S
        except TransientDeliveryError as error:
            self._failed(str(error))

    def tell_head(self) -> None:
        """The head of the chain, as a line of its own. One that is lost is followed by the next in five minutes."""
        wanted = self._running.settings.audit.syslog
        head = audit_chain.head(self._running.store)
        if wanted is None or head is None:
            return
        at, node = now(), self._running.settings.node.name
        line = syslog.message(at, syslog.NOTICE, node, HEAD_ID, head_line(node, at, head))
        try:
            self._send([line], wanted)
        except TransientDeliveryError as error:
            log.warning("event=audit_head_not_sent why=%s", error)

    def send_batch(self, wanted: AuditSyslogSettings) -> int:
        """Send the next entries and keep how far it came. Returns how many. Raises: TransientDeliveryError."""
        store = self._running.store
        stands = audit_position.of(store, SYSLOG)
        entries = list(islice(audit_search.entries(store, AuditSearch(), stands.last_id), BATCH))
        if entries:
            self._send([self._message(e, wanted) for e in entries], wanted)
            audit_position.moved(store, SYSLOG, entries[-1].id, now())
        return len(entries)

    def _message(self, entry: AuditEntry, wanted: AuditSyslogSettings) -> bytes:
        node = self._running.settings.node
        identity: StudyIdentity | None = None
        if wanted.identifiers != "none" and is_uid(entry.subject):
            study = studies.get(self._running.store, entry.subject)
            identity = study.identity if study is not None else None
        event = event_of(entry.action)
        severity = syslog.WARNING if event is not None and event.failed else syslog.NOTICE
        text = audit_message(entry, Source(node.name, node.institution), identity, wanted.identifiers)
        return syslog.message(entry.at, severity, node.name, MESSAGE_ID, text)

    def _send(self, messages: list[bytes], wanted: AuditSyslogSettings) -> None:
        """Raises: TransientDeliveryError."""
        if meta.is_simulation(self._running.store) and not is_loopback(wanted.host):
            raise TransientDeliveryError("a simulation sends to receivers on this machine only")
        try:
            tls = syslog.context(wanted.tls_ca, wanted.certificate, wanted.private_key)
        except OSError as error:
            raise TransientDeliveryError(f"tls_ca, certificate or private_key cannot be used: {error}") from error
        syslog.send(messages, wanted.host, wanted.port, tls, wanted.timeout_s)

    def _failed(self, why: str) -> None:
        log.warning("event=audit_not_sent why=%s again_in_s=%.0f", why, self._wait_s)
        audit_position.failed(self._running.store, SYSLOG, why)
        self._again_at = time.monotonic() + self._wait_s
        self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
