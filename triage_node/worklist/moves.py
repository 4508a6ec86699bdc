"""What changed between two orders of the same list, and what would change if the flags counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from triage_node.domain.priority import ListPolicy, Mode, Placed, WorklistRow
from triage_node.worklist.order import order


@dataclass(frozen=True, slots=True)
class Move:
    """A row that rose against the others, or came new (`old_position` is None). Positions count from 0 at the top."""

    study_instance_uid: str
    old_position: int | None
    new_position: int
    reason: str


def moves(before: Sequence[Placed], after: Sequence[Placed]) -> list[Move]:
    """Rows that passed others, and new ones, in the order of `after`.

    A row that only makes room for another, or comes up because one above it left, did not move: places are compared
    among the rows that both orders hold.
    """
    old_position = {p.row.study_instance_uid: p.position for p in before}
    kept = {p.row.study_instance_uid for p in after}
    old_rank = {uid: i for i, uid in enumerate(uid for uid in old_position if uid in kept)}
    found = []
    rank = 0
    for placed in after:
        uid = placed.row.study_instance_uid
        if uid not in old_position:
            found.append(Move(uid, None, placed.position, placed.reason))
            continue
        if rank < old_rank[uid]:
            found.append(Move(uid, old_position[uid], placed.position, placed.reason))
        rank += 1
    return found


def would_move(rows: Iterable[WorklistRow], now: datetime, policy: ListPolicy) -> list[Move]:
    """What observe mode keeps from happening: from the plain order to the one in which live flags count."""
    rows = list(rows)
    plain = order(rows, now, replace(policy, mode=Mode.OBSERVE))
    flagged = order(rows, now, replace(policy, mode=Mode.ACTIVE))
    return moves(plain, flagged)
