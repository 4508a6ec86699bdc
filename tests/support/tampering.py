"""What somebody does who has taken over the database: the triggers that protect the audit trail are gone first."""

from __future__ import annotations

from triage_node.store.engine import Store

_ON_SQLITE = ("audit_no_update", "audit_no_delete", "audit_no_replace", "audit_cut_no_update", "audit_cut_no_delete")


def tamper(store: Store, *statements: str) -> None:
    with store.write() as c:
        if store.is_sqlite:
            for trigger in _ON_SQLITE:
                c.exec_driver_sql(f"DROP TRIGGER IF EXISTS {trigger}")
        else:
            c.exec_driver_sql("ALTER TABLE audit DISABLE TRIGGER USER")
            c.exec_driver_sql("ALTER TABLE audit_cut DISABLE TRIGGER USER")
        for statement in statements:
            c.exec_driver_sql(statement)
