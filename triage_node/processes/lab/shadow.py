"""Drafts in shadow: each new result is judged by them too. Stored, and acted on by nobody; and the day of an approved one.

The scheduler does it beside the analysis, from what was stored, so that a draft can neither delay nor change a decision.
"""

from __future__ import annotations

import logging

from triage_node.domain.policy import DraftEvent
from triage_node.processes import running as process
from triage_node.processes.lab.studies import Studies
from triage_node.processes.running import Running
from triage_node.processes.wiring import least_level
from triage_node.store import drafts, meta, policy
from triage_node.store.drafts import ShadowAnswer

log = logging.getLogger(__name__)
_LOOK_BACK_DAYS = 3


def tick(running: Running) -> None:
    """Bring approved drafts into force whose day has come, then judge new results by those in shadow."""
    store, at = running.store, process.now()
    for version in drafts.activate_due(store, at):
        log.warning("event=policy_activated version=%s", version)
    shadows = [d for d in drafts.newest(store) if d.in_shadow]
    if not shadows:
        return
    studies = Studies(store, least_level(meta.is_simulation(store)))
    for draft in shadows:
        held = policy.in_force(store, draft.policy.bundle_digest)
        recent = studies.recent(at, _LOOK_BACK_DAYS, draft.policy.bundle_digest).cases
        began = draft.step(DraftEvent.SHADOW_ON)
        known = {(a.study_instance_uid, a.revision) for a in drafts.shadow_of(store, draft.number)}
        answers = [
            ShadowAnswer(
                case.study.study_instance_uid,
                case.study.revision,
                at,
                studies.judge(case, draft.policy).answer.value,
                studies.judge(case, held).answer.value,
                held.version,
            )
            for case in recent
            if began is not None
            and case.study.decided_at >= began.at
            and (case.study.study_instance_uid, case.study.revision) not in known
        ]
        with store.write() as c:
            drafts.put_shadow(c, draft.number, answers)
