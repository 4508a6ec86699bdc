"""The pages of trials on this store: Replay, and the shadow model."""

from __future__ import annotations

from datetime import timedelta

from triage_node.config.schema import Settings
from triage_node.console.replay import Before, ReplayDeps
from triage_node.console.shadow import Comparison, ShadowDeps
from triage_node.domain.errors import RefusedAction
from triage_node.domain.person import Person
from triage_node.domain.policy import MAIN
from triage_node.processes import running_model
from triage_node.processes.listing import study_label
from triage_node.processes.running import now
from triage_node.processes.trials.agreement import agreement
from triage_node.processes.trials.bug_bundle import bug_bundle
from triage_node.processes.trials.stored import as_stored, bundles, why_not
from triage_node.store import audit, instances, jobs, policy, results, shadow, studies
from triage_node.store.engine import Store

GIVEN = "bug bundle made"
COMPARED_FOR = timedelta(days=30)
MOST_COMPARED = 5000


def replay_deps(store: Store, settings: Settings) -> ReplayDeps:
    """The room's callables on this store."""

    def before(uid: str) -> Before:
        record, study = results.latest(store, uid), studies.get(store, uid)
        held = instances.of_study(store, uid)
        return Before(
            then=as_stored(record) if record is not None else None,
            revision=record.revision if record is not None else 0,
            decided_at=record.created_at if record is not None else None,
            bundles=bundles(running_model.model_settings(store, settings)),
            policies=tuple((p.version, f"version {p.version}: {p.why}"[:80]) for p in policy.versions(store)),
            why_not=why_not(settings, study.state, held) if study is not None else "There is no such study.",
            trials=tuple(jobs.of_study(store, uid)),
        )

    def ask(uid: str, bundle: str, policy_version: int, person: Person) -> None:
        known = before(uid)
        if known.why_not:
            raise RefusedAction(known.why_not)
        if bundle not in known.bundles:
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


def shadow_deps(store: Store, settings: Settings, shows_names: bool) -> ShadowDeps:
    """The comparison of the two models on this store."""

    def comparison() -> Comparison:
        told = running_model.said(store).get("shadow") or {}
        model = running_model.model_settings(store, settings)
        since = now() - COMPARED_FOR
        readings = tuple(shadow.since(store, since, told.get("digest") or shadow.newest_digest(store), MOST_COMPARED))
        last = readings[-1] if readings else None
        first = policy.in_force(store, running_model.digest(store)).points[MAIN]
        record = results.latest(store, last.study_instance_uid) if last is not None else None
        questionable = [r for r in readings if r.why_not or r.shadow_flagged is not r.flagged]
        return Comparison(
            configured=model.shadow_bundle,
            first=f"{record.bundle_name} {record.bundle_version}" if record is not None else model.bundle,
            second=told.get("model") or (f"{last.shadow_name} {last.shadow_version}" if last is not None else ""),
            why=str(told.get("why", "")),
            second_raise=told.get("raise") or (last.shadow_raise_probability if last is not None else None),
            first_raise=first.raise_probability,
            since=since,
            agreement=agreement(readings),
            readings=readings,
            labels={
                r.study_instance_uid: study_label(known.identity, known.description, shows_names)[0]
                for r in questionable
                if (known := studies.get(store, r.study_instance_uid)) is not None
            },
        )

    return ShadowDeps(comparison=comparison, is_on=bool(settings.model.shadow_bundle))
