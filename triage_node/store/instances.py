"""Associations and received instances. The database is never on the path of an answer: rows come in batches afterwards."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, exists, func, insert, select, update

from triage_node.domain.instance import InstanceHeader, ReceivedInstance
from triage_node.domain.study import Moment, StudyEvent, StudyIdentity, StudyState
from triage_node.store import operations_synthetic, studies
from triage_node.store.engine import Store, insert_new
from triage_node.store.schema import association, instance, rejected_instance, series, study, timeline
from triage_node.store.uploads import Upload

_OF_STUDY = 0x73747564  # the first half of an advisory lock's number
_SQL_VARIABLES = 500  # well below SQLite's limit of bound variables


def record_association(
    store: Store,
    calling_ae_title: str,
    called_ae_title: str,
    peer_address: str,
    tls: bool,
    at: datetime,
    receiver: str = "",
) -> int:
    """Open a row for an association; its id goes with each instance. `receiver`: the host that serves it."""
    with store.write() as c:
        done = c.execute(
            insert(association).values(
                calling_ae_title=calling_ae_title,
                called_ae_title=called_ae_title,
                peer_address=peer_address,
                tls=tls,
                opened_at=at,
                receiver=receiver,
            )
        )
        return int(done.inserted_primary_key[0])  # type: ignore[index]


def close_association(store: Store, association_id: int, outcome: str, instances: int, at: datetime) -> None:
    """`outcome` is released, aborted, lost or timed out."""
    with store.write() as c:
        c.execute(
            update(association)
            .where(association.c.id == association_id)
            .values(closed_at=at, outcome=outcome, instances=instances)
        )


def close_open_associations(store: Store, at: datetime, receiver: str = "") -> None:
    """After a restart of ingest: what was open on this host is lost, and what goes on at others is not."""
    mine = association.c.closed_at.is_(None), association.c.receiver.in_(("", receiver))
    with store.write() as c:
        c.execute(update(association).where(*mine).values(closed_at=at, outcome="lost"))


def record_batch(store: Store, batch: Sequence[ReceivedInstance], upload: Upload = Upload.NEVER) -> None:
    """Write rows for received instances; what is already there (same bytes) is left alone. Re-opens finished studies.

    `upload` is DUE where hosts share a store.
    """
    if not batch:
        return
    with store.write() as c:
        _one_at_a_time(c, {i.header.study_instance_uid for i in batch if i.header is not None})
        held = _present(c, instance.c.sha256, {i.sha256 for i in batch})
        _come_again(c, held, upload)
        new = list({i.sha256: i for i in batch if i.sha256 not in held}.values())
        named = _named(c, {i.sop_instance_uid for i in new})
        rows = []
        for i in new:
            row = _as_row(i, first=False)
            # a study under another UID is another study, whatever its instances are called; what is in quarantine stands for nothing
            name = row["study_instance_uid"], i.sop_instance_uid
            rows.append(row | {"upload": upload.value, "first": name not in named})
            if not i.quarantine_reason:
                named.add(name)
        if not rows:
            return
        c.execute(insert_new(c, instance), rows)
        by_study: dict[str, list[ReceivedInstance]] = {}
        for i in new:
            if i.header is not None and not i.quarantine_reason:
                by_study.setdefault(i.header.study_instance_uid, []).append(i)
        for uid, members in by_study.items():
            operations_synthetic.arrived(c, uid, members)
            _arrived(c, uid, members)


def _named(c: Connection, sop_instance_uids: Iterable[str]) -> set[tuple[str | None, str]]:
    """(Study, SOP Instance UID) of what is held and in use."""
    found: set[tuple[str | None, str]] = set()
    for part in _parts(set(sop_instance_uids)):
        query = select(instance.c.study_instance_uid, instance.c.sop_instance_uid).where(
            instance.c.sop_instance_uid.in_(part), instance.c.quarantine_reason == ""
        )
        found |= {(r.study_instance_uid, r.sop_instance_uid) for r in c.execute(query)}
    return found


def _come_again(c: Connection, digests: Iterable[str], upload: Upload) -> None:
    """Pixels that retention had removed lie on the disk again, and it has to find them once more."""
    for part in _parts(set(digests)):
        removed = instance.c.sha256.in_(part), instance.c.source_removed_at.is_not(None)
        c.execute(update(instance).where(*removed).values(source_removed_at=None, upload=upload.value))


def blobs_without_row(store: Store, digests: Iterable[str]) -> set[str]:
    """Which of these blobs have no row (after a crash between the answer and the batch)."""
    wanted = set(digests)
    with store.read() as c:
        return wanted - _present(c, instance.c.sha256, wanted)


def of_study(store: Store, study_instance_uid: str) -> list[ReceivedInstance]:
    """The first bytes of each SOP Instance UID of a study, in order of arrival, without what is quarantined or rejected."""
    rejected = exists().where(
        rejected_instance.c.study_instance_uid == instance.c.study_instance_uid,
        rejected_instance.c.sop_instance_uid == instance.c.sop_instance_uid,
    )
    with store.read() as c:
        query = (
            select(instance)
            .where(
                instance.c.study_instance_uid == study_instance_uid,
                instance.c.first,
                instance.c.quarantine_reason == "",
                ~rejected,
            )
            .order_by(instance.c.id)
        )
        return [_from_row(r) for r in c.execute(query)]


def repeats(store: Store, study_instance_uid: str) -> list[ReceivedInstance]:
    """Other bytes that came under a SOP Instance UID that was there, not judged yet (DESIGN.md "Identity moves")."""
    with store.read() as c:
        query = select(instance).where(
            instance.c.study_instance_uid == study_instance_uid,
            ~instance.c.first,
            instance.c.pixel_digest.is_(None),
            instance.c.quarantine_reason == "",
        )
        return [_from_row(r) for r in c.execute(query.order_by(instance.c.id))]


def pixel_digests(store: Store, digests: Iterable[str]) -> dict[str, str]:
    """sha256 -> pixel digest, where one was computed."""
    found: dict[str, str] = {}
    with store.read() as c:
        for part in _parts(set(digests)):
            query = select(instance.c.sha256, instance.c.pixel_digest).where(
                instance.c.sha256.in_(part), instance.c.pixel_digest.is_not(None)
            )
            found |= {r.sha256: r.pixel_digest for r in c.execute(query)}
    return found


def set_pixel_digests(store: Store, digests: dict[str, str]) -> None:
    with store.write() as c:
        for sha256, pixel_digest in digests.items():
            c.execute(update(instance).where(instance.c.sha256 == sha256).values(pixel_digest=pixel_digest))


def supersede(store: Store, old_sha256: str, new_sha256: str) -> None:
    """Same pixels under a corrected identity: from now on the new bytes stand for the instance."""
    with store.write() as c:
        c.execute(update(instance).where(instance.c.sha256 == old_sha256).values(first=False))
        c.execute(update(instance).where(instance.c.sha256 == new_sha256).values(first=True))


def quarantine(store: Store, sha256: str, reason: str) -> None:
    """Keep the bytes, use them no more, show why."""
    with store.write() as c:
        c.execute(update(instance).where(instance.c.sha256 == sha256).values(quarantine_reason=reason))


def quarantined(store: Store) -> list[tuple[str, str, str]]:
    """(sop_instance_uid, sha256, reason) of everything in quarantine."""
    with store.read() as c:
        query = select(instance.c.sop_instance_uid, instance.c.sha256, instance.c.quarantine_reason)
        return [tuple(r) for r in c.execute(query.where(instance.c.quarantine_reason != "").order_by(instance.c.id))]


def count(store: Store) -> int:
    with store.read() as c:
        return int(c.execute(select(func.count()).select_from(instance)).scalar_one())


def open_association_ids(store: Store, silent: Collection[str] = ()) -> set[int]:
    """Associations that have not ended; those of receivers that are `silent` are waited for no more."""
    query = select(association.c.id).where(association.c.closed_at.is_(None), association.c.receiver.not_in(silent))
    with store.read() as c:
        return set(c.execute(query).scalars())


def _one_at_a_time(c: Connection, studies: set[str]) -> None:
    """Two receivers that write of one study wait for each other: else both count the same bytes, and both call theirs the first.

    SQLite has one writer anyway. In one order, so that they do not wait for each other for ever.
    """
    if c.dialect.name == "postgresql":
        for uid in sorted(studies):
            c.execute(select(func.pg_advisory_xact_lock(_OF_STUDY, func.hashtext(uid))))


def _arrived(c: Connection, uid: str, members: list[ReceivedInstance]) -> None:
    first, last = min(i.received_at for i in members), max(i.received_at for i in members)
    for series_uid in {i.header.series_instance_uid for i in members if i.header}:
        c.execute(insert_new(c, series), [{"series_instance_uid": series_uid, "study_instance_uid": uid}])
        c.execute(update(series).where(series.c.series_instance_uid == series_uid).values(closed_at=None, signal=""))
    row = c.execute(select(study.c.state).where(study.c.study_instance_uid == uid).with_for_update()).one_or_none()
    if row is None:
        header = members[0].header
        assert header is not None
        values = {
            "study_instance_uid": uid,
            "state": StudyState.RECEIVING.value,
            "arrived_at": first,
            "last_instance_at": last,
            "calling_ae_title": members[0].calling_ae_title,
            "identity": asdict(identity_of(header)),
            "patient_id": header.patient_id,
            "description": header.study_description or header.series_description,
        }
        if c.execute(insert_new(c, study), values).rowcount:
            c.execute(insert(timeline).values(study_instance_uid=uid, at=first, moment=Moment.FIRST_BYTE.value))
    c.execute(
        update(study)
        .where(study.c.study_instance_uid == uid)
        .values(
            instances=study.c.instances + len(members),
            last_instance_at=func.max(study.c.last_instance_at, last)
            if c.dialect.name == "sqlite"
            else func.greatest(study.c.last_instance_at, last),
        )
    )
    if row is not None and StudyState(row.state) not in (
        StudyState.RECEIVING,
        StudyState.ANALYSING,
        StudyState.QUARANTINED,
    ):
        studies.advance(c, uid, StudyEvent.REOPENED, last, "another instance arrived")


def identity_of(header: InstanceHeader) -> StudyIdentity:
    return StudyIdentity(
        header.patient_id,
        header.issuer_of_patient_id,
        header.patient_name,
        header.patient_birth_date,
        header.patient_sex,
        header.accession_number,
    )


def _present(c: Connection, column: Any, values: set[str]) -> set[str]:
    return {v for part in _parts(values) for v in c.execute(select(column).where(column.in_(part))).scalars()}


def _parts(values: set[str]) -> Iterable[list[str]]:
    ordered = sorted(values)
    return (ordered[k : k + _SQL_VARIABLES] for k in range(0, len(ordered), _SQL_VARIABLES))


_OWN = (
    "sha256",
    "size_bytes",
    "sop_instance_uid",
    "sop_class_uid",
    "transfer_syntax_uid",
    "received_at",
    "association_id",
    "calling_ae_title",
    "called_ae_title",
    "peer_address",
    "quarantine_reason",
)


def _as_row(i: ReceivedInstance, first: bool) -> dict[str, Any]:
    values = {name: getattr(i, name) for name in _OWN}
    values |= {
        "first": first,
        "header": {name: getattr(i.header, name) for name in _HEADER} if i.header else None,
        "study_instance_uid": i.header.study_instance_uid if i.header else None,
        "series_instance_uid": i.header.series_instance_uid if i.header else None,
    }
    return values


# dataclasses.asdict copies deeply, which costs ten times as much
_HEADER = tuple(f.name for f in fields(InstanceHeader))
_TUPLES = (
    "image_type",
    "convolution_kernel",
    "software_versions",
    "pixel_spacing_mm",
    "image_orientation_patient",
    "image_position_patient",
)


def _from_row(r: Row[Any]) -> ReceivedInstance:
    header = None
    if r.header is not None:
        values: dict[str, Any] = {k: tuple(v) if k in _TUPLES and v is not None else v for k, v in r.header.items()}
        header = InstanceHeader(**values)
    return ReceivedInstance(header=header, **{name: getattr(r, name) for name in _OWN})
