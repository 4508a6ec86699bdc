"""What people said of a study, one row a saying. Nothing is changed later but that it was taken back, once."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, Row, insert, select, update

from triage_node.domain.feedback import VERDICTS, Feedback, Said
from triage_node.store import audit
from triage_node.store.engine import Store
from triage_node.store.meta import touch_list
from triage_node.store.schema import feedback, image_shown

# the first release wrote a row for a disagreement that was taken back too; it says nothing of a result
_SAID = feedback.c.verdict.in_([said.value for said in Said])


def add(c: Connection, said: Feedback) -> int:
    """Append what a person said; `id` and `undone_at` of the argument are not read. Returns its id."""
    row = {
        "study_instance_uid": said.study_instance_uid,
        "at": said.at,
        "by": said.by,
        "verdict": said.said.value,
        "text": said.text,
        "revision": said.revision,
        "subtype": said.subtype,
        "change": None if said.change is None else dict(said.change),
    }
    number = c.execute(insert(feedback).values(row).returning(feedback.c.id)).scalar_one()
    words = ", ".join(part for part in (said.said.value, said.subtype, said.text) if part)
    audit.record(c, said.at, said.by, "feedback", said.study_instance_uid, new=f"revision {said.revision}: {words}")
    touch_list(c)
    return int(number)


def take_back(c: Connection, said: Feedback, at: datetime) -> bool:
    """False when it was taken back already."""
    once = update(feedback).where(feedback.c.id == said.id, feedback.c.undone_at.is_(None)).values(undone_at=at)
    if not c.execute(once).rowcount:
        return False
    audit.record(c, at, said.by, "feedback taken back", said.study_instance_uid, old=said.said.value)
    touch_list(c)
    return True


def of_study(source: Store | Connection, study_instance_uid: str) -> list[Feedback]:
    """Oldest first, what was taken back too; pass a write's connection to see its own changes."""
    if isinstance(source, Store):
        with source.read() as c:
            return of_study(c, study_instance_uid)
    query = select(feedback).where(feedback.c.study_instance_uid == study_instance_uid, _SAID).order_by(feedback.c.id)
    return [_said(r) for r in source.execute(query)]


def verdicts(store: Store, since: datetime) -> dict[str, Feedback]:
    """Study -> the verdict that stands: the last one that nobody took back, of those given since then."""
    query = select(feedback).where(
        feedback.c.at >= since, feedback.c.undone_at.is_(None), feedback.c.verdict.in_([v.value for v in VERDICTS])
    )
    with store.read() as c:
        return {r.study_instance_uid: _said(r) for r in c.execute(query.order_by(feedback.c.id))}


def image_was_shown(store: Store, study_instance_uid: str, revision: int, person: str, at: datetime) -> None:
    """Remember it, once."""
    with store.write() as c:
        if not was_image_shown(c, study_instance_uid, revision, person):
            row = {"study_instance_uid": study_instance_uid, "revision": revision, "person": person, "at": at}
            c.execute(insert(image_shown).values(row))
            audit.record(c, at, person, "image shown", study_instance_uid, new=f"revision {revision}")


def was_image_shown(source: Store | Connection, study_instance_uid: str, revision: int, person: str) -> bool:
    if isinstance(source, Store):
        with source.read() as c:
            return was_image_shown(c, study_instance_uid, revision, person)
    query = select(image_shown.c.at).where(
        image_shown.c.study_instance_uid == study_instance_uid,
        image_shown.c.revision == revision,
        image_shown.c.person == person,
    )
    return source.execute(query).scalar() is not None


def _said(r: Row[tuple[object, ...]]) -> Feedback:
    return Feedback(
        r.id, r.study_instance_uid, r.revision, r.by, r.at, Said(r.verdict), r.subtype, r.text, r.change, r.undone_at
    )
