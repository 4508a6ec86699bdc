"""Thresholds tried on recent studies: the policy that a trial would make, its replay, and what it would mean for the node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from triage_node.config.schema import Settings
from triage_node.console.lab_deps import Question
from triage_node.domain.errors import StoreError
from triage_node.domain.finding import EvidenceLevel
from triage_node.domain.policy import MAIN, Policy, ScopedPoint
from triage_node.domain.priority import Mode
from triage_node.domain.replay import Changed, Queue, Replay
from triage_node.processes.lab import figures
from triage_node.processes.lab.queue import Room, queue_of
from triage_node.processes.lab.studies import MOST, Case, Judged, Recent, Studies
from triage_node.processes.listing import study_label
from triage_node.processes.wiring import least_level, list_policy, switched_mode
from triage_node.store import evaluations, modes, policy, scored
from triage_node.store.engine import Store

MOST_CHANGED = 200


def candidate(in_force: Policy, question: Question) -> Policy:
    """The policy in force with the points of one scope replaced. Raises: StoreError without a point for the whole site."""
    points = [replace(p, version=in_force.version) for p in question.points.values()]
    if question.scope.is_whole_site:
        if MAIN not in question.points:
            raise StoreError("the whole site needs a point for hemorrhage of any kind")
        kept = tuple(s for s in in_force.scoped if s.point.finding in question.points)
        return replace(in_force, points={p.finding: p for p in points}, scoped=kept)
    others = tuple(s for s in in_force.scoped if s.scope != question.scope)
    return replace(in_force, scoped=(*others, *(ScopedPoint(question.scope, p) for p in points)))


class Lab:
    """Tries thresholds on the recent studies of one store. `bundle_digest`: of the model in use; empty: of the newest result."""

    def __init__(self, store: Store, settings: Settings, simulation: bool, bundle_digest: Callable[[], str]) -> None:
        self._store, self._settings, self._simulation = store, settings, simulation
        self._digest = bundle_digest
        self._studies = Studies(store, least_level(simulation))

    def recent(self, at: datetime, days: int) -> Recent:
        return self._studies.recent(at, days, self._digest())

    def replay(self, question: Question, at: datetime) -> Replay:
        """Recent studies under the policy in force and under the trial. Raises: StoreError for a trial that cannot be."""
        tried = self._try(question, at)
        inside = [i for i, case in enumerate(tried.recent.cases) if case.belongs_to(question.scope)]
        cases = [tried.recent.cases[i] for i in inside]
        before, after = ([judged[i] for i in inside] for judged in (tried.before, tried.after))
        labels = figures.labels_of(cases)
        prevalence = figures.prevalence_of(labels, question.prevalence)
        in_force, trial = (figures.side(labels, judged, tried.days, prevalence) for judged in (before, after))
        roc = figures.roc(labels, in_force, trial)
        said = "These are simulated patients: the figures say nothing about real ones."
        return Replay(
            studies=len(cases),
            days=tried.days,
            scope=question.scope.words,
            left_out=_left_out(tried.recent),
            truths=int(labels.known.sum()),
            covering=labels.n_covering,
            positives=int((labels.known & labels.positive).sum()),
            prevalence=prevalence,
            in_force=in_force,
            candidate=trial,
            roc=roc,
            pr=figures.precision_recall(labels, (before, after)) if roc else None,
            curves_why="" if roc else _why_no_curve(labels),
            bars=figures.bars(labels),
            changed=_changed(cases, before, after, self._simulation),
            notes=(said,) if self._simulation else (),
        )

    def queue(self, question: Question, at: datetime) -> Queue:
        """Minutes gained and lost on the whole list. Raises: StoreError for a trial that cannot be."""
        tried = self._try(question, at)
        labels = figures.labels_of(tried.recent.cases)
        prevalence = figures.prevalence_of(labels, question.prevalence)
        sides = [figures.side(labels, judged, tried.days, prevalence) for judged in (tried.before, tried.after)]
        return queue_of(
            tried.recent.cases,
            tried.before,
            tried.after,
            scored.reading_minutes(self._store, at - timedelta(days=question.days)),
            Room(question.readers, question.reading_min, question.other_per_hour),
            list_policy(self._settings, Mode.ACTIVE),
            ((sides[0].sensitivity, sides[0].specificity), (sides[1].sensitivity, sides[1].specificity)),
            prevalence,
            tried.days,
        )

    def _try(self, question: Question, at: datetime) -> _Tried:
        held = policy.in_force(self._store, self._digest())
        tried = candidate(held, question)
        policy.body_of(list(tried.points.values()), tried.scoped)  # the same checks as a draft
        recent = self.recent(at, question.days)
        before = [self._studies.judge(case, held) for case in recent.cases]
        after = [self._studies.judge(case, tried) for case in recent.cases]
        first = recent.cases[0].study.arrived_at if recent.cases else at
        return _Tried(recent, before, after, max((at - first).total_seconds() / 86400, 1 / 24))


@dataclass(frozen=True, slots=True)
class _Tried:
    recent: Recent
    before: list[Judged]
    after: list[Judged]
    days: float


def consequence(
    store: Store, settings: Settings, simulation: bool, bundle_digest: str, tried: Policy
) -> tuple[str, ...]:
    """What these thresholds would let the node do (DESIGN.md section 4), in sentences, before anybody confirms them."""
    if settings.worklist.mode is Mode.OBSERVE:
        return ("The node is set to observe: these thresholds move nothing, they change what would move.",)
    if simulation:
        return ("Simulated patients: the node goes on acting on its list at these thresholds.",)
    now, _ = _mode(store, settings, bundle_digest, evaluations.site_levels(store, bundle_digest))
    then, why = _mode(store, settings, bundle_digest, evaluations.site_levels(store, bundle_digest, tried.points))
    if now is Mode.ACTIVE and then is Mode.OBSERVE:
        said = [
            "This change makes the node fall back to observe until it is evaluated again at these thresholds: readers see the "
            "plain list, and nobody is notified."
        ]
    elif then is Mode.ACTIVE:
        state = "goes on acting" if now is Mode.ACTIVE else "acts again"
        said = [f"This site's own evaluation was made at these thresholds: the node {state}."]
    else:
        said = [f"The node observes at these thresholds: {why.removeprefix('observe').lstrip(':, ')}."]
    if then is Mode.ACTIVE:
        said += [
            f"Studies of {s.scope.words} are only observed until this site's evaluation was made at their own thresholds."
            for s in tried.scoped
            if s.point.finding == MAIN and not evaluations.scans_covered(store, bundle_digest, MAIN, s.point)
        ]
    return tuple(said)


def _mode(store: Store, settings: Settings, digest: str, levels: Mapping[str, EvidenceLevel]) -> tuple[Mode, str]:
    return switched_mode(settings, False, levels.get(MAIN, EvidenceLevel.E0), modes.switch(store), digest)


def _left_out(recent: Recent) -> tuple[str, ...]:
    said = []
    if recent.left_out:
        said.append(f"{recent.left_out} studies were scored by another model and are left out.")
    if recent.is_cut:
        said.append(f"Only the newest {MOST} studies are judged again.")
    return tuple(said)


def _why_no_curve(labels: figures.Labels) -> str:
    if not labels.n_covering:
        return "Curves need truth that covers unflagged studies; feedback on flags alone would make every threshold look perfect."
    return f"Curves need bleeds and others among the {labels.n_covering} studies that truth covers."


def _changed(cases: list[Case], before: list[Judged], after: list[Judged], shows_names: bool) -> tuple[Changed, ...]:
    """Studies whose answer differs, the largest probability first."""
    found = []
    for case, was, would in zip(cases, before, after, strict=True):
        if was.answer is would.answer:
            continue
        study = case.study
        label, rest = study_label(study.identity, study.description, shows_names)
        uid, p = study.study_instance_uid, would.decision.probability
        found.append(Changed(uid, label, rest, p, was.answer, would.answer, case.positive, study.policy_version))
    return tuple(sorted(found, key=lambda c: -c.probability)[:MOST_CHANGED])
