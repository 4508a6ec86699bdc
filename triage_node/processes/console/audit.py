"""The audit page on the store."""

from __future__ import annotations

from triage_node.config.schema import Settings
from triage_node.console.audit import AuditDeps, TrailStanding, room
from triage_node.console.pages import Room
from triage_node.domain.audit import AuditEntry, AuditSearch
from triage_node.domain.person import Person
from triage_node.processes.auditing.export import TRAIL, csv_of
from triage_node.processes.auditing.names import CHECK, HEAD_FILE, SYSLOG
from triage_node.processes.running import now
from triage_node.store import audit, audit_chain, audit_position, audit_search
from triage_node.store.engine import Store

READ = "audit trail read"


def audit_room(store: Store, settings: Settings) -> Room:
    """The page on this store."""

    def page(search: AuditSearch, most: int, before: int | None, person: Person) -> list[AuditEntry]:
        found = audit_search.page(store, search, most, before)
        with store.write() as c:
            audit.record(c, now(), person.name, READ, TRAIL, new=str(search) + (f", before {before}" if before else ""))
        return found

    return room(AuditDeps(lambda: standing(store, settings), page, lambda search, who: csv_of(store, search, who)))


def standing(store: Store, settings: Settings) -> TrailStanding:
    head = audit_chain.head(store)
    check, told, sent = (audit_position.of(store, name) for name in (CHECK, HEAD_FILE, SYSLOG))
    to = settings.audit.syslog
    return TrailStanding(
        head=head,
        checked_at=check.at,
        problem=check.problem,
        has_head_file=settings.audit.head_file is not None,
        head_told_at=told.at,
        head_problem=told.problem if settings.audit.head_file is not None else "",
        receiver=f"{to.host}:{to.port}" if to is not None else "",
        behind=audit_search.waiting(store, sent.last_id) if to is not None else 0,
        sent_at=sent.at,
        sending_problem=sent.problem,
    )
