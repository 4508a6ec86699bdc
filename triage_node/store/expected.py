"""What others announced of a series: modalities (MPPS), archives (IAN), archives that were asked (C-FIND)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum, auto

from sqlalchemy import Connection, delete, func, insert, select, update

from triage_node.domain.expected import CountSource, ExpectedCount, Series, StepState
from triage_node.store.engine import Store, insert_new
from triage_node.store.schema import announcement, expected_count


class Change(Enum):
    """What became of a change to a performed procedure step."""

    DONE = auto()
    NO_SUCH_STEP = auto()
    STEP_IS_FINAL = auto()


def notify(store: Store, uid: str, sender: str, study_instance_uid: str, series: Series, at: datetime) -> bool:
    """Keep what an IAN told. False when it had come before. Raises: StoreError."""
    with store.write() as c:
        if not _create(c, uid, CountSource.IAN, "", sender, [study_instance_uid], {}, at):
            return False
        _tell(c, CountSource.IAN, uid, [study_instance_uid], series, at)
        return True


def begin_step(store: Store, uid: str, sender: str, studies: Sequence[str], series: Series, at: datetime) -> bool:
    """N-CREATE of a performed procedure step. False when there is one of this UID. Raises: StoreError."""
    with store.write() as c:
        return _create(c, uid, CountSource.MPPS, StepState.IN_PROGRESS.value, sender, studies, series, at)


def change_step(store: Store, uid: str, state: StepState | None, series: Series | None, at: datetime) -> Change:
    """N-SET. What COMPLETED names counts from then on; DISCONTINUED tells nothing. Raises: StoreError."""
    with store.write() as c:
        where = (announcement.c.uid == uid) & (announcement.c.source == CountSource.MPPS.value)
        row = c.execute(select(announcement).where(where).with_for_update()).one_or_none()
        if row is None:
            return Change.NO_SUCH_STEP
        if StepState(row.state).is_final:
            return Change.STEP_IS_FINAL
        new = state or StepState(row.state)
        named = {s: frozenset(uids) for s, uids in row.series.items()} if series is None else series
        if new is StepState.COMPLETED:
            _tell(c, CountSource.MPPS, uid, row.study_instance_uids, named, at)
        kept = {} if new.is_final else _as_json(named)
        c.execute(update(announcement).where(where).values(state=new.value, series=kept, changed_at=at))
        return Change.DONE


def answered(store: Store, study_instance_uid: str, archive: str, counts: Mapping[str, int], at: datetime) -> None:
    """An archive told how many instances of each series it holds. Raises: StoreError."""
    with store.write() as c:
        of_study = (expected_count.c.study_instance_uid == study_instance_uid) & (expected_count.c.origin == archive)
        of_study &= expected_count.c.source == CountSource.C_FIND.value
        held = {
            r.series_instance_uid: r for r in c.execute(select(expected_count).where(of_study).with_for_update()).all()
        }
        for uid, instances in counts.items():
            row = held.get(uid)
            if row is None:
                _insert_count(c, study_instance_uid, uid, CountSource.C_FIND, archive, instances, [], at)
                continue
            values = {"told_at": at} | (
                {} if row.instances == instances else {"instances": instances, "first_told_at": at}
            )
            c.execute(update(expected_count).where(expected_count.c.id == row.id).values(**values))


def of_study(store: Store, study_instance_uid: str) -> dict[str, tuple[ExpectedCount, ...]]:
    """By series, one of each source: messages of the same source add to one another, answers of archives replace each other."""
    query = select(expected_count).where(expected_count.c.study_instance_uid == study_instance_uid)
    found: dict[tuple[str, CountSource], ExpectedCount] = {}
    with store.read() as c:
        for r in c.execute(query.order_by(expected_count.c.told_at, expected_count.c.id)):
            key = (r.series_instance_uid, CountSource(r.source))
            before, uids = found.get(key), frozenset(r.sop_instance_uids)
            if before is not None:
                uids |= before.sop_instance_uids
            found[key] = ExpectedCount(*key, len(uids) or r.instances, r.first_told_at, r.told_at, uids)
    by_series: dict[str, list[ExpectedCount]] = defaultdict(list)
    for source in CountSource:
        for (uid, told_by), count in found.items():
            if told_by is source:
                by_series[uid].append(count)
    return {uid: tuple(counts) for uid, counts in by_series.items()}


def last_told(store: Store, studies: Iterable[str]) -> dict[str, datetime]:
    """When something was told last of each of these studies of which anything was."""
    with store.read() as c:
        query = select(expected_count.c.study_instance_uid, func.max(expected_count.c.told_at))
        wanted = query.where(expected_count.c.study_instance_uid.in_(list(studies)))
        return {uid: at for uid, at in c.execute(wanted.group_by(expected_count.c.study_instance_uid))}


def forget_before(store: Store, at: datetime) -> None:
    """Remove what was told before `at`: its study closed long ago, or never came."""
    with store.write() as c:
        c.execute(delete(expected_count).where(expected_count.c.told_at < at))
        c.execute(delete(announcement).where(announcement.c.changed_at < at))


def _create(
    c: Connection,
    uid: str,
    source: CountSource,
    state: str,
    sender: str,
    studies: Sequence[str],
    series: Series,
    at: datetime,
) -> bool:
    values = {
        "uid": uid,
        "source": source.value,
        "state": state,
        "sender": sender,
        "study_instance_uids": list(studies),
        "series": _as_json(series),
        "received_at": at,
        "changed_at": at,
    }
    return bool(c.execute(insert_new(c, announcement), values).rowcount)


def _tell(
    c: Connection, source: CountSource, origin: str, studies: Sequence[str], series: Series, at: datetime
) -> None:
    for study in studies:
        for uid, named in series.items():
            _insert_count(c, study, uid, source, origin, len(named), sorted(named), at)


def _insert_count(
    c: Connection,
    study: str,
    series: str,
    source: CountSource,
    origin: str,
    instances: int,
    named: list[str],
    at: datetime,
) -> None:
    c.execute(
        insert(expected_count).values(
            study_instance_uid=study,
            series_instance_uid=series,
            source=source.value,
            origin=origin,
            instances=instances,
            sop_instance_uids=named,
            first_told_at=at,
            told_at=at,
        )
    )


def _as_json(series: Series) -> dict[str, list[str]]:
    return {uid: sorted(named) for uid, named in series.items()}
