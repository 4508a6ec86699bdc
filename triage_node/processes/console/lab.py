"""The threshold lab on the store."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from functools import lru_cache

from triage_node.bundle.load import load_bundle
from triage_node.config.schema import Settings
from triage_node.console.lab_deps import Basis, Imported, LabDeps, Question, ShadowReport, TruthSource
from triage_node.domain.errors import TriageNodeError
from triage_node.domain.finding import Answer, OperatingPoint
from triage_node.domain.policy import Policy, Scope
from triage_node.processes import running_model
from triage_node.processes.lab import imported, trial
from triage_node.processes.lab.studies import Recent
from triage_node.processes.running import now
from triage_node.processes.thresholds import own_points
from triage_node.processes.wiring import bundle_folder
from triage_node.store import drafts, policy, truth
from triage_node.store.engine import Store

DAYS = 90
MOST_APART = 200


def lab_deps(store: Store, settings: Settings, simulation: bool) -> LabDeps:
    @lru_cache(maxsize=2)
    def default(name: str, _: str) -> dict[str, OperatingPoint]:
        """The bundle's own points; none where it cannot be read here. Read anew when another one runs under this name."""
        try:
            return {p.finding: p for p in own_points(load_bundle(bundle_folder(name)))}
        except TriageNodeError:
            return {}

    def digest() -> str:
        return running_model.digest(store)

    lab = trial.Lab(store, settings, simulation, digest)

    def basis() -> Basis:
        recent = lab.recent(now(), DAYS)
        held = policy.in_force(store, digest())
        newest = recent.cases[-1].study if recent.cases else None
        return Basis(
            in_force=held,
            default=default(running_model.model_settings(store, settings).bundle, digest()),
            scored=tuple(newest.detail.get("subtype_probabilities", ())) if newest else (),
            scopes=_scopes(recent, held),
            drafts=tuple(drafts.newest(store)),
            versions=tuple(policy.versions(store)),
            former=drafts.former(store, digest()),
            model=f"{newest.bundle_name} {newest.bundle_version}" if newest else "",
        )

    def candidate(question: Question) -> Policy:
        return trial.candidate(policy.in_force(store, digest()), question)

    def draft(question: Question, by: str, why: str, replaces: int) -> int:
        tried = candidate(question)
        return drafts.add(store, list(tried.points.values()), tried.scoped, by, why, now(), replaces)

    def shadow_report(number: int) -> ShadowReport:
        said = drafts.shadow_of(store, number)
        apart = [
            (a.study_instance_uid, a.answer_in_force, a.answer, a.at) for a in said if a.answer != a.answer_in_force
        ]
        before, after = (
            sum(Answer(a).is_flag for a in answers)
            for answers in (
                [a.answer_in_force for a in said],
                [a.answer for a in said],
            )
        )
        return ShadowReport(len(said), before, after, tuple(apart[::-1][:MOST_APART]))

    def import_truth(text: str, source: str, covers_unflagged: bool, by: str) -> Imported:
        return imported.take_in(store, text, source, covers_unflagged, by, now())

    def approve(number: int, by: str, active_from: datetime) -> None:
        drafts.approve(store, number, by, active_from, now())
        drafts.activate_due(store, now())

    return LabDeps(
        basis=basis,
        replay=lambda question: lab.replay(question, now()),
        queue=lambda question: lab.queue(question, now()),
        candidate=candidate,
        consequence=lambda tried: trial.consequence(store, settings, simulation, digest(), tried),
        draft=draft,
        shadow=lambda number, on, by: drafts.switch_shadow(store, number, on, by, now()),
        approve=approve,
        withdraw=lambda number, by: drafts.withdraw(store, number, by, now()),
        roll_back=lambda by, in_force: drafts.roll_back(store, by, now(), in_force),
        shadow_report=shadow_report,
        import_truth=import_truth,
        truths=lambda: _sources(store),
    )


def _scopes(recent: Recent, held: Policy) -> tuple[Scope, ...]:
    """What a point could be for: scanners, scanners with a kernel and senders that were seen, and those that have one."""
    seen = set(held.scopes)
    for case in recent.cases:
        if case.scan.scanner:
            seen |= {Scope(case.scan.scanner), Scope(case.scan.scanner, case.scan.kernel)}
        if case.study.calling_ae_title:
            seen.add(Scope(ae_title=case.study.calling_ae_title))
    return tuple(sorted(seen - {Scope()}))


def _sources(store: Store) -> tuple[TruthSource, ...]:
    labels = truth.known(store).values()
    studies = Counter((t.source, t.covers_unflagged) for t in labels)
    positive = Counter((t.source, t.covers_unflagged) for t in labels if t.positive)
    return tuple(TruthSource(*key, n, positive[key]) for key, n in sorted(studies.items()))
