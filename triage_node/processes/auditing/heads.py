"""Ticks of the scheduler for the chain of the audit trail: its head is told, it is checked, its oldest part goes."""

from __future__ import annotations

import logging
import os
from collections import deque
from datetime import datetime, timedelta
from pathlib import Path

from triage_node.config.schema import Settings
from triage_node.domain.audit import AuditVerdict, ToldHead, head_line, heads_in
from triage_node.domain.errors import ConfigError
from triage_node.processes.auditing.names import CHECK, HEAD_FILE, SYSLOG
from triage_node.processes.running import Running, now
from triage_node.store import audit_chain, audit_position, audit_retention
from triage_node.store.engine import Store

log = logging.getLogger(__name__)

_MOST_LINES = 500_000
"""Of a head file, from its end: almost five years."""


def tell(running: Running, at: datetime | None = None) -> None:
    """Append the head to the head file. What is written is on the disk when this returns."""
    file, at = running.settings.audit.head_file, at or now()
    head = audit_chain.head(running.store)
    if file is None or head is None:
        return
    try:
        _append(file, head_line(running.settings.node.name, at, head))
    except OSError as error:
        problem = f"{file}: {error.strerror or error}"
        log.error("event=audit_head_not_written why=%s", problem)
        audit_position.failed(running.store, HEAD_FILE, problem)
        return
    audit_position.moved(running.store, HEAD_FILE, head.id, at)


def check(running: Running) -> None:
    """Check the whole chain and keep what was found for the page."""
    try:
        verdict = verdict_of(running.store, running.settings)
    except ConfigError as error:
        audit_position.failed(running.store, CHECK, str(error))
        return
    if verdict.problem:
        log.error("event=audit_chain_broken why=%s", verdict.problem)
        audit_position.failed(running.store, CHECK, verdict.problem)
    elif verdict.head is not None:
        audit_position.moved(running.store, CHECK, verdict.head.id, now())


def retain(running: Running, at: datetime | None = None) -> None:
    """Take out what is older than the site keeps; what the syslog receiver has not got stays."""
    wanted, at = running.settings.audit, at or now()
    if wanted.keep_days == 0:
        return
    delivered = audit_position.of(running.store, SYSLOG).last_id if wanted.syslog is not None else None
    gone = audit_retention.cut(running.store, at - timedelta(days=wanted.keep_days), at, "node", delivered)
    if gone:
        log.info("event=audit_cut entries=%d", gone)


def verdict_of(store: Store, settings: Settings, more: Path | None = None) -> AuditVerdict:
    """The chain against the head file and `more`, a file or log with heads. Raises: ConfigError when one cannot be read."""
    told = dict[int, ToldHead]()
    for file in (settings.audit.head_file, more):
        # the configured file is made with the first head; one that was named has to be there
        if file is not None and (file is more or file.exists()):
            told |= _read(file, settings.node.name)
    return audit_chain.verify(store, told)


def _read(file: Path, node: str) -> dict[int, ToldHead]:
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            return heads_in(deque(lines, _MOST_LINES), node)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from error


def _append(file: Path, line: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    try:
        os.write(descriptor, f"{line}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
