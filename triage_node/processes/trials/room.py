"""The console's replay page on this store."""

from __future__ import annotations

from triage_node.config.schema import Settings
from triage_node.console.replay import Before, ReplayDeps
from triage_node.domain.errors import RefusedAction
from triage_node.domain.person import Person
from triage_node.processes.running import now
from triage_node.processes.trials.bug_bundle import bug_bundle
from triage_node.processes.trials.stored import as_stored, bundles, why_not
from triage_node.store import audit, instances, jobs, policy, results, studies
from triage_node.store.engine import Store

GIVEN = "bug bundle made"


def replay_deps(store: Store, settings: Settings) -> ReplayDeps:
    """The room's callables on this store."""
    offered = bundles(settings)

    def before(uid: str) -> Before:
        record, study = results.latest(store, uid), studies.get(store, uid)
        held = instances.of_study(store, uid)
        return Before(
            then=as_stored(record) if record is not None else None,
            revision=record.revision if record is not None else 0,
            decided_at=record.created_at if record is not None else None,
            bundles=offered,
            policies=tuple((p.version, f"version {p.version}: {p.why}"[:80]) for p in policy.versions(store)),
            why_not=why_not(settings, study.state, held) if study is not None else "There is no such study.",
            trials=tuple(jobs.of_study(store, uid)),
        )

    def ask(uid: str, bundle: str, policy_version: int, person: Person) -> None:
        known = before(uid)
        if known.why_not:
            raise RefusedAction(known.why_not)
        if bundle not in offered:
            raise RefusedAction("That model is none of those that the configuration names (model.replay_bundles).")
        if policy_version not in {version for version, _ in known.policies}:
            raise RefusedAction("There is no such version of the thresholds.")
        jobs.ask(store, uid, known.revision, person.name, now(), bundle, policy_version)

    def given(uid: str, person: Person) -> bytes:
        made = bug_bundle(store, settings, uid)
        with store.write() as c:
            audit.record(c, now(), person.name, GIVEN, uid, new=f"{len(made)} bytes")
        return made

    return ReplayDeps(before=before, ask=ask, bug_bundle=given)
