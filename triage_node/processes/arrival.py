"""The scheduler's quarter-second tick: arriving studies get a row on the list, complete ones are closed."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from triage_node.config.schema import Settings
from triage_node.domain.errors import StoreError
from triage_node.domain.instance import ReceivedInstance
from triage_node.domain.priority import WorklistRow
from triage_node.domain.study import StudyState
from triage_node.processes.intake import rule_for, rules_of
from triage_node.processes.running import now
from triage_node.store import expected, heartbeat, instances, studies, worklist
from triage_node.store.engine import Store
from triage_node.study.completeness import (
    Arrival,
    Closed,
    CompletenessPolicy,
    SeriesProgress,
    evaluate_study,
)
from triage_node.study.liveness import NO_IMAGE, Liveness, liveness
from triage_node.study.selection import CT_CLASSES

log = logging.getLogger(__name__)

_LOOK_AGAIN = timedelta(seconds=0.5)
"""While slices pour in, a study's headers are not read more often than this."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen at the last look, and when time alone may change the answer."""

    instances: int
    open_associations: frozenset[int]
    told_at: datetime | None
    at: datetime
    due_at: datetime


class Arrivals:
    """Keeps only what it saw last of each arriving study; all else is asked of the store."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._zone = ZoneInfo(settings.node.time_zone)
        self._rules = rules_of(settings)
        self._quiet = {s.ae_title: timedelta(seconds=s.quiet_s) for s in settings.listener.senders}
        self._policy = CompletenessPolicy(
            quiet=self._quiet.get("*", CompletenessPolicy().quiet),
            deadline=timedelta(seconds=settings.completeness.deadline_s),
            minimum_coverage_mm=settings.completeness.minimum_coverage_mm,
        )
        self._looks: dict[str, _Look] = {}

    def tick(self) -> None:
        """One look at everything that arrives."""
        for uid in worklist.studies_without_row(self._store):
            self._list(uid)
        receiving = studies.in_states(self._store, StudyState.RECEIVING)
        open_associations = self._open_associations() if receiving else set()
        told = expected.last_told(self._store, [s.study_instance_uid for s in receiving]) if receiving else {}
        for study in receiving:
            try:
                self._close_if_complete(study, open_associations, told.get(study.study_instance_uid))
            except StoreError:
                raise
            except Exception as error:
                # one study that cannot be judged must not keep the others from closing, nor itself from an end
                log.exception("study=%s", study.study_instance_uid)
                self._close_at_deadline(study, type(error).__name__)
        known = {s.study_instance_uid for s in receiving}
        self._looks = {uid: look for uid, look in self._looks.items() if uid in known}

    def _open_associations(self) -> set[int]:
        # a receiver that is gone, or cut off, tells the end of no association
        return instances.open_association_ids(self._store, heartbeat.silent(self._store, "ingest", now()))

    def _list(self, uid: str) -> None:
        held = instances.of_study(self._store, uid)
        study = studies.get(self._store, uid)
        if study is None or not held or held[0].header is None:
            return
        rule = rule_for(self._rules, held)
        live = self._judged(held, study.arrived_at) or Liveness(True, False, NO_IMAGE)
        row = WorklistRow(
            study_instance_uid=uid,
            order_class=rule.order_class,
            arrived_at=study.arrived_at,
            live=live.live,
            status_words=studies.status_words(study.state, study.reason),
        )
        with self._store.write() as c:
            worklist.add_row(c, row, live.words)

    def _judged(self, held: list[ReceivedInstance], arrived_at: datetime) -> Liveness | None:
        """By the first image of the scan itself; None while only reports, dose pages and the like have come."""
        image = next((i.header for i in held if i.header is not None and i.sop_class_uid in CT_CLASSES), None)
        if image is None:
            return None
        return liveness(image, arrived_at, rule_for(self._rules, held).live_within, self._zone)

    def _close_at_deadline(self, study: studies.StudyRecord, why: str) -> None:
        if now() - study.last_instance_at < self._policy.deadline:
            return
        with self._store.write() as c:
            signal = f"not judged: {why}"
            studies.close(c, study.study_instance_uid, signal, True, now(), study.instances)

    def _close_if_complete(
        self, study: studies.StudyRecord, open_associations: set[int], told_at: datetime | None
    ) -> None:
        uid, at = study.study_instance_uid, now()
        look = self._looks.get(uid)
        if look is not None:
            changed = (look.instances, look.told_at) != (study.instances, told_at)
            changed |= not look.open_associations <= open_associations
            if not (changed and at - look.at >= _LOOK_AGAIN) and at < look.due_at:
                return
        held = instances.of_study(self._store, uid)
        outcome = evaluate_study(self._progress(uid, held, open_associations), at, self._policy)
        if not isinstance(outcome, Closed):
            mine = frozenset(
                i.association_id for i in held if i.association_id in open_associations and i.association_id
            )
            self._looks[uid] = _Look(study.instances, mine, told_at, at, outcome.due_at)
            return
        live = self._judged(held, study.arrived_at)
        with self._store.write() as c:
            if live is not None:
                worklist.judge_live(c, uid, live.live, live.words, NO_IMAGE)
            studies.close_series(c, outcome.series_instance_uid, outcome.signal.value, outcome.incomplete, at)
            closed = studies.close(c, uid, outcome.signal.value, outcome.incomplete, at, study.instances)
        if closed:
            log.info(
                "study=%s closed signal=%r incomplete=%s why=%r",
                uid,
                outcome.signal.value,
                outcome.incomplete,
                outcome.why,
            )

    def _progress(
        self, study_instance_uid: str, held: list[ReceivedInstance], open_associations: set[int]
    ) -> list[SeriesProgress]:
        told = expected.of_study(self._store, study_instance_uid)
        by_series: dict[str, list[ReceivedInstance]] = defaultdict(list)
        for i in held:
            if i.header is not None:
                by_series[i.header.series_instance_uid].append(i)
        named = {uid for uid, counts in told.items() if any(c.sop_instance_uids for c in counts)}
        return [
            SeriesProgress(
                series_instance_uid=uid,
                arrivals=tuple(Arrival(i.header, i.received_at) for i in members if i.header is not None),
                association_open=any(i.association_id in open_associations for i in members),
                expected=told.get(uid, ()),
                more_series=not named <= by_series.keys(),
                quiet=self._quiet.get(members[-1].calling_ae_title),
            )
            for uid, members in by_series.items()
        ]
