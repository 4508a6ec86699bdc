"""An index that has been filled for a while: studies of forty days ago, delivered and read, made inside the database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from sqlalchemy import CTE, ColumnElement, Connection, String, Table, cast, func, insert, literal, select

from triage_node.domain.instance import InstanceHeader
from triage_node.domain.priority import OrderClass, ReadingState
from triage_node.domain.study import Moment, StudyIdentity, StudyState
from triage_node.processes.running import now
from triage_node.store import schema
from triage_node.store.engine import Store

SLICES = 40
"""Of a study."""
AGE = timedelta(days=40)
_CT, _SYNTAX = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
_KINDS = ("findings_sr", "location_sr", "seg", "summary_sc")
_ACTIONS = ("study closed", "study claimed", "study reported", "study viewed")


def fill(store: Store, instances: int, slices: int = SLICES) -> int:
    """Rows as if that many instances had come. Headers are all of one patient's length. Returns how many studies."""
    count = instances // slices
    with store.write() as c:
        for table, values, per_study in _tables(c, slices):
            _rows(c, table, values, count, per_study)
    if not store.is_sqlite:
        with store.write() as c:
            c.exec_driver_sql("ANALYZE")  # what autovacuum does in time
    return count


def _tables(c: Connection, slices: int) -> Iterable[tuple[Table, Any, int]]:
    """(table, row of study number k and its j-th, how many rows a study)."""
    at = now() - AGE
    digest = (
        (lambda: func.lower(func.hex(func.randomblob(32))))
        if c.dialect.name == "sqlite"
        else lambda: func.concat(func.md5(cast(func.random(), String)), func.md5(cast(func.random(), String)))
    )
    header = asdict(
        InstanceHeader(
            "1.9.1.1.1", _CT, "1.9.1", "1.9.1.1", _SYNTAX, "ISO_IR 100", "CT", ("ORIGINAL", "PRIMARY", "AXIAL"), "MAKER",
            "CT1", "P1", "", "FULL^INDEX", "19500101", "F", "076Y", "A1", "20261111", "030000", "20261111", "030001",
            image_orientation_patient=(1, 0, 0, 0, 1, 0), image_position_patient=(0, 0, 5.0), rows=512, columns=512,
        )
    )  # fmt: skip
    peer = {"calling_ae_title": "CT1", "called_ae_title": "TRIAGE", "peer_address": "10.0.0.1"}
    identity = asdict(StudyIdentity("P1", "", "FULL^INDEX", "19500101", "F", "A1"))
    result = {"input_digest": "i" * 64, "bundle_name": "bloodnet", "bundle_version": "1", "bundle_digest": "b" * 64}
    result |= {"runtime": "cpu", "policy_version": 1, "config_digest": "c" * 64, "probability": 0.1, "flagged": False}

    def uid(k: Any, *more: Any) -> ColumnElement[str]:
        text: ColumnElement[str] = literal("1.9.") + cast(k, String)
        for part in more:
            text = text + "." + (part if isinstance(part, str) else cast(part, String))
        return text

    yield (
        schema.association,
        lambda k, j: (
            peer | {"tls": False, "opened_at": at, "closed_at": at, "outcome": "released", "instances": slices}
        ),
        1,
    )
    yield (
        schema.instance,
        lambda k, j: {
            "sha256": digest(), "sop_instance_uid": uid(k, "1", j), "sop_class_uid": _CT, "transfer_syntax_uid": _SYNTAX,
            "study_instance_uid": uid(k), "series_instance_uid": uid(k, "1"), "size_bytes": 526_000, "received_at": at,
            "association_id": k, **peer, "header": header, "first": True, "pixel_digest": "d" * 64, "quarantine_reason": "",
        },
        slices,
    )  # fmt: skip
    yield (
        schema.series,
        lambda k, j: {
            "series_instance_uid": uid(k, "1"), "study_instance_uid": uid(k), "closed_at": at, "signal": "released",
            "incomplete": False,
        },
        1,
    )  # fmt: skip
    yield (
        schema.study,
        lambda k, j: {
            "study_instance_uid": uid(k), "state": StudyState.DELIVERED.value, "arrived_at": at, "last_instance_at": at,
            "instances": slices, "closed_at": at, "revision": 1, "identity": identity, "patient_id": "P1", "listed": True, "selection": {}, "reason": "",
            "tries": 0, "lease_owner": "", "close_signal": "released", "incomplete": False, "calling_ae_title": "CT1",
            "description": "CT head",
        },
        1,
    )  # fmt: skip
    moments = [m.value for m in Moment]
    yield (
        schema.timeline,
        lambda k, j: {"study_instance_uid": uid(k), "at": at, "moment": moments[0], "detail": ""},
        len(moments),
    )
    yield (
        schema.worklist_row,
        lambda k, j: {
            "study_instance_uid": uid(k), "order_class": OrderClass.ROUTINE.value, "arrived_at": at, "left_at": at,
            "reading_state": ReadingState.READ.value, "flag_ended_by": "", "unsure": False, "apart": False, "live": True,
            "live_words": "acquired now", "claimed_by": "", "status_words": "", "notice": "",
        },
        1,
    )  # fmt: skip
    yield (
        schema.worklist_move,
        lambda k, j: {"study_instance_uid": uid(k), "at": at, "mode": "active", "new_position": 1, "reason": "arrived"},
        1,
    )
    yield (
        schema.result,
        lambda k, j: {
            "study_instance_uid": uid(k), "revision": 1, "created_at": at, **result, "hematoma_volume_ml": 0.0, "detail": {},
        },
        1,
    )  # fmt: skip
    yield (
        schema.built_object,
        lambda k, j: {
            "sop_instance_uid": uid(k, "9", j), "sop_class_uid": _CT, "series_instance_uid": uid(k, "9"),
            "study_instance_uid": uid(k), "kind": _KINDS[0], "revision": 1, "sha256": digest(), "size_bytes": 9000,
            "refers_to": [], "built_at": at,
        },
        len(_KINDS),
    )  # fmt: skip
    yield (
        schema.outbox,
        lambda k, j: {
            "peer": "pacs", "kind": _KINDS[0], "study_instance_uid": uid(k), "sop_instance_uid": uid(k, "9", j),
            "sop_class_uid": _CT, "sha256": digest(), "refers_to": [], "state": "delivered", "tries": 1, "not_before": at,
            "reason": "", "transaction_uid": "", "created_at": at, "sent_at": at, "final_at": at, "lease_owner": "",
        },
        len(_KINDS),
    )  # fmt: skip
    yield (
        schema.audit,
        lambda k, j: {
            "at": at, "actor": "node", "action": _ACTIONS[0], "subject": uid(k), "old": "", "new": "", "previous_hash": "0" * 64,
            "hash": digest(),
        },
        len(_ACTIONS),
    )  # fmt: skip


def _rows(c: Connection, table: Table, values: Any, studies: int, per_study: int) -> None:
    k, j = _numbers("k", studies), _numbers("j", per_study)
    row = values(k.c.n, j.c.n)
    columns = [v if isinstance(v, ColumnElement) else literal(v, table.c[name].type) for name, v in row.items()]
    c.execute(insert(table).from_select(list(row), select(*columns).select_from(k.join(j, literal(True)))))


def _numbers(name: str, last: int) -> CTE:
    numbers = select(literal(1).label("n")).cte(name, recursive=True)
    return numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < last))
