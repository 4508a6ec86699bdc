"""Drafts of thresholds and what became of them: appended, never changed, each step in the audit trail.

draft -> shadow -> approved by a second person, from a day on -> active, beside it withdrawn, lapsed, rolled back. A draft
becomes a policy version only when the version that it was made against is still in force for its model; else it lapses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from triage_node.domain.errors import StoreError
from triage_node.domain.finding import OperatingPoint
from triage_node.domain.policy import DraftEvent, DraftStep, Policy, PolicyDraft, ScopedPoint
from triage_node.store import audit, policy
from triage_node.store.engine import Store
from triage_node.store.schema import policy as policies
from triage_node.store.schema import policy_draft, policy_event, shadow_answer
from triage_node.store.signatures import LONGEST_NAME, two_people

LONGEST_WHY = 400


@dataclass(frozen=True, slots=True)
class ShadowAnswer:
    """What a draft says of one result, and what the policy in force said of it then. Answers as OperatingPoint gives them."""

    study_instance_uid: str
    revision: int
    at: datetime
    answer: str
    answer_in_force: str
    policy_version: int


def add(
    store: Store,
    points: Sequence[OperatingPoint],
    scoped: Sequence[ScopedPoint],
    by: str,
    why: str,
    at: datetime,
    replaces: int,
) -> int:
    """Keep a draft. Returns its number.

    Raises: StoreError for thresholds out of order, without a reason, without change, or when another policy is in force by now.
    """
    body, why = policy.body_of(points, scoped), _line(why, LONGEST_WHY, "a draft needs a reason in words")
    _line(by, LONGEST_NAME, "a draft needs a name")
    with store.write() as c:
        held = policy.in_place_of(c, replaces)
        if held.version != replaces:
            raise StoreError(f"policy {held.version} is in force by now, not {replaces}; look at it first")
        if body == policy.body_of(list(held.points.values()), held.scoped):
            raise StoreError("these thresholds are in force already")
        row = {"created_at": at, "created_by": by, "why": why, "replaces": replaces, "body": body}
        done = c.execute(insert(policy_draft).values(**row))
        number = int(done.inserted_primary_key[0])  # type: ignore[index]
        _append(c, number, DraftStep(DraftEvent.DRAFTED, at, by, why), new=repr(body))
    return number


def get(source: Store | Connection, number: int) -> PolicyDraft | None:
    if isinstance(source, Store):
        with source.read() as c:
            return get(c, number)
    found = _drafts(source, number)
    return found[0] if found else None


def newest(store: Store) -> list[PolicyDraft]:
    """Every draft, newest first."""
    with store.read() as c:
        return _drafts(c)


def switch_shadow(store: Store, number: int, on: bool, by: str, at: datetime) -> None:
    """Judge new studies by a draft too, or no more. Raises: StoreError when there is no such open draft."""
    with store.write() as c:
        draft = _open(c, number)
        if draft.in_shadow != on:
            _append(c, number, DraftStep(DraftEvent.SHADOW_ON if on else DraftEvent.SHADOW_OFF, at, by))


def approve(store: Store, number: int, by: str, active_from: datetime, at: datetime) -> None:
    """A second person lets a draft come into force at an instant. Raises: StoreError for the same person, or no open draft."""
    with store.write() as c:
        draft = _open(c, number)
        if draft.state == "approved":
            raise StoreError("this draft is approved already")
        two_people((draft.drafted_by, by))
        if policy.in_place_of(c, draft.policy.version).version != draft.policy.version:
            raise StoreError("another policy is in force than the one this draft was made against; draft it again")
        words = f"in force from {active_from.isoformat(timespec='minutes')}"
        _append(c, number, DraftStep(DraftEvent.APPROVED, at, by, words, active_from=active_from))


def withdraw(store: Store, number: int, by: str, at: datetime) -> None:
    """Raises: StoreError when there is no such open draft."""
    with store.write() as c:
        _open(c, number)
        _append(c, number, DraftStep(DraftEvent.WITHDRAWN, at, by))


def activate_due(store: Store, at: datetime) -> list[int]:
    """Bring approved drafts into force whose time has come; one that another policy overtook lapses. Returns new versions."""
    made = []
    for number in [d.number for d in newest(store)[::-1] if d.state == "approved"]:
        with store.write() as c:
            draft = _locked(c, number)
            approval = draft.step(DraftEvent.APPROVED) if draft is not None and draft.state == "approved" else None
            if draft is None or approval is None or approval.active_from is None or approval.active_from > at:
                continue
            held = policy.in_place_of(c, draft.policy.version).version
            if held != draft.policy.version:
                words = f"policy {held} came into force after it was drafted against policy {draft.policy.version}"
                _append(c, number, DraftStep(DraftEvent.LAPSED, at, f"{audit.BY_TIME}activation", words))
                continue
            by = two_people((draft.drafted_by, approval.by))
            why = f"draft {number}: {draft.policy.why}"
            version = policy.put(c, list(draft.policy.points.values()), by, why, at, held, draft.policy.scoped)
            _append(c, number, DraftStep(DraftEvent.ACTIVATED, at, by, policy_version=version))
            made.append(version)
    return made


def roll_back(store: Store, by: str, at: datetime, in_force: int) -> int:
    """Bring back the thresholds that the policy `in_force` replaced, as a new version. Returns its number.

    One person may: it goes back to what two people, or the bundle, had set. Raises: StoreError when another policy is in force
    by now, or there is nothing to go back to.
    """
    _line(by, LONGEST_NAME, "going back needs a name")
    with store.write() as c:
        held = policy.in_place_of(c, in_force)
        if held.version != in_force:
            raise StoreError(f"policy {held.version} is in force by now, not {in_force}; look at it first")
        former = former_of(c, held)
        if former is None:
            raise StoreError(f"policy {held.version} has none before it with other thresholds")
        why = f"back to the thresholds of policy {former.version}"
        version = policy.put(c, list(former.points.values()), by, why, at, held.version, former.scoped)
        for draft in _drafts(c):
            step = draft.step(DraftEvent.ACTIVATED)
            if step is not None and step.policy_version == held.version:
                words = f"policy {version} has the thresholds of policy {former.version}"
                _append(c, draft.number, DraftStep(DraftEvent.ROLLED_BACK, at, by, words, policy_version=version))
    return version


def former_of(c: Connection, held: Policy) -> Policy | None:
    """The thresholds before those of `held`: where `held` itself went back, those before the ones it went back to."""
    theirs = select(policies).where(policies.c.bundle_digest.in_((held.bundle_digest, "")))
    rows = c.execute(theirs.order_by(policies.c.version)).all()
    line: list[Policy] = []
    for found in map(policy.of_row, rows):
        same = next((i for i, p in enumerate(line) if _thresholds(p) == _thresholds(found)), None)
        line = [*line, found] if same is None else line[: same + 1]
        if found.version == held.version:
            break
    return line[-2] if len(line) > 1 else None


def former(store: Store, bundle_digest: str = "") -> Policy | None:
    """What going back would bring for this model."""
    with store.read() as c:
        return former_of(c, policy.in_force(c, bundle_digest))


def put_shadow(c: Connection, number: int, answers: Sequence[ShadowAnswer]) -> None:
    if answers:
        names = ShadowAnswer.__slots__
        c.execute(insert(shadow_answer), [{"draft_id": number, **{n: getattr(a, n) for n in names}} for a in answers])


def shadow_of(store: Store, number: int) -> list[ShadowAnswer]:
    """What a draft said in its shadow time, oldest first."""
    with store.read() as c:
        query = select(shadow_answer).where(shadow_answer.c.draft_id == number).order_by(shadow_answer.c.id)
        return [ShadowAnswer(**{n: getattr(r, n) for n in ShadowAnswer.__slots__}) for r in c.execute(query)]


def _thresholds(p: Policy) -> policy.Body:
    return policy.body_of(list(p.points.values()), p.scoped)


def _open(c: Connection, number: int) -> PolicyDraft:
    draft = _locked(c, number)
    if draft is None:
        raise StoreError(f"there is no draft {number}")
    if not draft.is_open:
        raise StoreError(f"draft {number} is {draft.state}: nothing can be done with it any more")
    return draft


def _locked(c: Connection, number: int) -> PolicyDraft | None:
    """Scheduler and page may come to one draft at the same time: the second waits here, and finds what the first did."""
    c.execute(select(policy_draft.c.id).where(policy_draft.c.id == number).with_for_update())
    return get(c, number)


def _append(c: Connection, number: int, step: DraftStep, new: str = "") -> None:
    values = {"event": step.event.value, **{n: getattr(step, n) for n in DraftStep.__slots__ if n != "event"}}
    c.execute(insert(policy_event).values(draft_id=number, **values))
    told = f"policy {step.policy_version}" if step.policy_version else step.words
    audit.record(c, step.at, step.by, f"policy draft {step.event.value}", f"draft {number}", new=new or told)


def _drafts(c: Connection, number: int | None = None) -> list[PolicyDraft]:
    replaced = policies.c.version == policy_draft.c.replaces
    wanted = select(policy_draft, policies.c.bundle_digest).join(policies, replaced).order_by(policy_draft.c.id.desc())
    rows = c.execute(wanted if number is None else wanted.where(policy_draft.c.id == number)).all()
    steps: dict[int, list[DraftStep]] = {row.id: [] for row in rows}
    said = select(policy_event).order_by(policy_event.c.id)
    for r in c.execute(said if number is None else said.where(policy_event.c.draft_id == number)):
        if r.draft_id in steps:
            steps[r.draft_id].append(
                DraftStep(DraftEvent(r.event), r.at, r.by, r.words, r.active_from, r.policy_version)
            )
    return [PolicyDraft(row.id, policy.of_row(row, row.replaces), tuple(steps[row.id])) for row in rows]


def _line(text: str, longest: int, missing: str) -> str:
    line = " ".join(text.split())
    if not line:
        raise StoreError(missing)
    if len(line) > longest or not line.isprintable():
        raise StoreError(f"at most {longest} printable characters")
    return line
