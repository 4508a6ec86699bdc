"""What others took out of use by a rejection note (IOCM). A name stays rejected, whenever its instance comes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, insert, select

from triage_node.domain.rejection import RejectedInstance, RejectionReason
from triage_node.store import audit, succession
from triage_node.store.engine import Store
from triage_node.store.meta import touch_list
from triage_node.store.schema import rejected_instance


def reject(
    c: Connection,
    study_instance_uid: str,
    sop_instance_uids: Sequence[str],
    reason: RejectionReason,
    by: str,
    note_uid: str,
    at: datetime,
) -> int:
    """Take instances of one study out of use; what was rejected before stays as it is. Returns how many are new."""
    of_study = rejected_instance.c.study_instance_uid == study_instance_uid
    held = set(c.execute(select(rejected_instance.c.sop_instance_uid).where(of_study)).scalars())
    new = [uid for uid in dict.fromkeys(sop_instance_uids) if uid not in held]
    if not new:
        return 0
    told = {
        "study_instance_uid": study_instance_uid,
        "reason": reason.value,
        "by": by,
        "at": succession.time_of_change(c, study_instance_uid, at),
        "note_uid": note_uid,
    }
    c.execute(insert(rejected_instance), [told | {"sop_instance_uid": uid} for uid in new])
    words = f"{len(new)} instances by {note_uid}, {reason.value} {reason.in_words}"
    audit.record(c, at, by, "instances rejected", study_instance_uid, new=words)
    touch_list(c)
    return len(new)


def of_study(store: Store, study_instance_uid: str) -> list[RejectedInstance]:
    """Oldest first."""
    query = select(rejected_instance).where(rejected_instance.c.study_instance_uid == study_instance_uid)
    with store.read() as c:
        return [
            RejectedInstance(r.sop_instance_uid, RejectionReason(r.reason), r.by, r.at, r.note_uid)
            for r in c.execute(query.order_by(rejected_instance.c.at, rejected_instance.c.sop_instance_uid))
        ]
