"""Random and hand-made lists for the tests of this room."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from triage_node.domain.priority import Flag, ListPolicy, Mode, OrderClass, ReadingState, Urgency, WorklistRow

START = datetime(2026, 11, 21, 0, 0, tzinfo=UTC)
ACTIVE = ListPolicy(mode=Mode.ACTIVE)
OBSERVE = ListPolicy(mode=Mode.OBSERVE)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def flag(urgency: Urgency = Urgency.HIGH, raised_min: float = 0, words: str = "Suspected IPH, 34 mL") -> Flag:
    return Flag(finding="iph", urgency=urgency, words=words, raised_at=at(raised_min))


def row(uid: str, order_class: OrderClass = OrderClass.ROUTINE, arrived_min: float = 0, **more: object) -> WorklistRow:
    return WorklistRow(study_instance_uid=uid, order_class=order_class, arrived_at=at(arrived_min), **more)  # type: ignore[arg-type]


def some_flag() -> st.SearchStrategy[Flag]:
    return st.builds(flag, st.sampled_from(Urgency), st.integers(0, 2000))


def some_row() -> st.SearchStrategy[WorklistRow]:
    """Few distinct arrivals, so that ties happen."""
    return st.builds(
        WorklistRow,
        study_instance_uid=st.text("0123456789", min_size=3, max_size=5).map(lambda digits: f"1.2.{digits}"),
        order_class=st.sampled_from(OrderClass),
        arrived_at=st.integers(0, 200).map(lambda tens: at(10 * tens)),
        flag=st.none() | some_flag(),
        live=st.booleans(),
        pinned_at=st.none() | st.none() | st.integers(0, 30).map(at),
        reading_state=st.sampled_from(ReadingState),
        claimed_by=st.sampled_from(["", "dr. lee"]),
        claimed_at=st.none() | st.integers(0, 200).map(lambda tens: at(10 * tens)),
        status_words=st.sampled_from(["", "", "not analysed: 9 slices missing"]),
    )


def some_rows() -> st.SearchStrategy[list[WorklistRow]]:
    return st.lists(some_row(), min_size=1, max_size=25, unique_by=lambda r: r.study_instance_uid)


def some_now() -> st.SearchStrategy[datetime]:
    return st.integers(0, 3500).map(at)
