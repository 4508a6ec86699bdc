"""The reading list as a pure function of its rows, an instant and a policy (DESIGN.md section 2).

Tiers, ascending; a row takes the best that applies:

    0  pinned by a person                                        by time of the pin
    1  flagged critical or high                                  urgency, order class, deadline
    2  guarded class, at most `guard` before its bound or over   deadline
    3  flagged moderate                                          urgency, order class, deadline
    4  all others                                                order class, deadline

Ties: arrival, then Study Instance UID, so the order is total. Tier 2 stands above tier 3 so that a weak alarm starves no
trauma that was ordered STAT, and below tier 1 so that a strong one stands before any number of overdue studies.

Invariants (tests/worklist/test_order.py):
(1) a flag, or a higher urgency, never worsens a row's own place nor changes the order of the others among themselves;
(2) without flags, and in observe mode, the order is the plain one;
(3) a claim moves nothing: the row keeps its place under the reader's hands, the page shows it apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from triage_node.domain.durations import ago, until
from triage_node.domain.priority import (
    ON_THE_LIST,
    Flag,
    ListPolicy,
    Mode,
    OrderClass,
    Placed,
    ReadingState,
    Urgency,
    WorklistRow,
)

PINNED, FLAGGED, GUARDED, FLAGGED_MODERATE, PLAIN = range(5)

_CLASS_RANK = {order_class: rank for rank, order_class in enumerate(OrderClass)}
_URGENCY_RANK = {urgency: rank for rank, urgency in enumerate(Urgency)}

_Key = tuple[int, int, int, datetime, datetime, str]


def order(rows: Iterable[WorklistRow], now: datetime, policy: ListPolicy) -> list[Placed]:
    """Return the rows that are on the list, first to read first, each with its tier and the reason in words.

    Rows that have left (read, status unknown, flagged but reading not confirmed) are not placed. `now` and every instant
    in the rows are aware. Study Instance UIDs are unique among the rows.
    """
    listed = [row for row in rows if row.reading_state in ON_THE_LIST]
    plain = sorted(listed, key=lambda row: _key(row, None, now, policy))
    plain_position = {row.study_instance_uid: position for position, row in enumerate(plain)}
    ordered = sorted(listed, key=lambda row: _key(row, counting_flag(row, policy), now, policy))
    return [
        Placed(
            row=row,
            position=position,
            tier=_key(row, counting_flag(row, policy), now, policy)[0],
            reason=_reason(row, plain_position[row.study_instance_uid] - position, now, policy),
        )
        for position, row in enumerate(ordered)
    ]


def counting_flag(row: WorklistRow, policy: ListPolicy) -> Flag | None:
    """The row's flag if it counts for the order: the study is live and the mode is active."""
    return row.flag if row.live and policy.mode is Mode.ACTIVE else None


def deadline(row: WorklistRow, policy: ListPolicy) -> datetime:
    """The instant by which a study of this class should be read."""
    return row.arrived_at + policy.bounds[row.order_class]


def is_claimed(row: WorklistRow, now: datetime, policy: ListPolicy) -> bool:
    """True while somebody reads the study; a claim without an instant never was one."""
    if row.reading_state is not ReadingState.BEING_READ or row.claimed_at is None:
        return False
    return now - row.claimed_at < policy.claim_for


def _guarded(row: WorklistRow, now: datetime, policy: ListPolicy) -> bool:
    return row.order_class in policy.guarded and deadline(row, policy) - now <= policy.guard


def _key(row: WorklistRow, flag: Flag | None, now: datetime, policy: ListPolicy) -> _Key:
    due = deadline(row, policy)
    order_class = _CLASS_RANK[row.order_class]
    tail = (row.arrived_at, row.study_instance_uid)
    if row.pinned_at is not None:
        return (PINNED, 0, 0, row.pinned_at, *tail)
    if flag is not None and flag.urgency is not Urgency.MODERATE:
        return (FLAGGED, _URGENCY_RANK[flag.urgency], order_class, due, *tail)
    if _guarded(row, now, policy):
        return (GUARDED, 0, 0, due, *tail)
    if flag is not None:
        return (FLAGGED_MODERATE, _URGENCY_RANK[flag.urgency], order_class, due, *tail)
    return (PLAIN, 0, order_class, due, *tail)


def _reason(row: WorklistRow, places_raised: int, now: datetime, policy: ListPolicy) -> str:
    """Why the row stands where it stands, the strongest cause first; what the node could not do is never left out."""
    flag = counting_flag(row, policy)
    bound = f"{row.order_class}, {until(deadline(row, policy) - now)}"
    words: list[str] = ["pinned"] if row.pinned_at is not None else []
    if flag is not None:
        words.append(flag.words)
        if places_raised > 0:
            words.append(f"raised {places_raised} {'place' if places_raised == 1 else 'places'}")
        words.append(ago(now - flag.raised_at))
    if _guarded(row, now, policy) or not (flag or row.status_words):
        words.append(bound)
    if row.status_words:
        words.append(row.status_words)
    return " · ".join(words)


def first_to_read(rows: Iterable[WorklistRow], now: datetime, policy: ListPolicy) -> WorklistRow:
    """What stands first in `order`, in one pass. Raises: ValueError without rows."""
    return min(rows, key=lambda row: _key(row, counting_flag(row, policy), now, policy))
