"""Figures for Prometheus, made anew each time from the store: no counter lives in a process. Nothing of any patient or study."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from triage_node.config.schema import Settings
from triage_node.console.operations_deps import Standing
from triage_node.domain.study import StudyState
from triage_node.processes.operations import standing
from triage_node.store.engine import Store

_PREFIX = "triage_node_"


def exposition(store: Store, settings: Settings, at: datetime) -> bytes:
    """The text that Prometheus reads."""
    registry = CollectorRegistry()
    facts = standing.facts(store, settings, at)
    registry.register(_Figures(facts, standing.standing_of(facts, store, settings)))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, facts: standing.Facts, shown: Standing) -> None:
        self._facts, self._shown = facts, shown

    def collect(self) -> Iterable[Metric]:
        facts, shown = self._facts, self._shown
        at = facts.at
        waiting = [(state, facts.states.get(state)) for state in StudyState]
        urgent = [p.is_urgent for p in shown.problems]
        heart = shown.heart
        yield _gauge(
            "problems", "What is wrong now.", ["urgent"], [(["yes"], sum(urgent)), (["no"], urgent.count(False))]
        )
        yield _gauge(
            "role_silent_seconds",
            "Since the last sign of life of a role.",
            ["role"],
            [([role], _seconds(at, seen)) for role, seen in facts.roles.items()],
        )
        yield _gauge("studies", "Studies of patients.", ["state"], [([s], w.count if w else 0) for s, w in waiting])
        yield _gauge(
            "oldest_wait_seconds",
            "Since the oldest study in a state arrived or was complete.",
            ["state"],
            [([s], _seconds(at, w.since)) for s, w in waiting if w is not None and w.since is not None],
        )
        yield _gauge(
            "stage_latency_seconds",
            "Of the last hour's studies.",
            ["stage", "quantile"],
            [
                ([s.name, quantile], value)
                for s in shown.stages
                for quantile, value in (("0.5", s.p50_s), ("0.95", s.p95_s))
                if value is not None
            ],
        )
        yield _gauge("stage_studies", "In the last hour.", ["stage"], [([s.name], s.count) for s in shown.stages])
        yield from self._peers()
        yield _gauge(
            "parked_deliveries", "Objects and messages that were refused for good.", [], [([], len(shown.parked))]
        )
        if shown.disk is not None:
            yield _gauge("disk_free_bytes", "Of the data folder.", [], [([], shown.disk.free_gb * 1e9)])
            yield _gauge("disk_size_bytes", "Of the data folder.", [], [([], shown.disk.total_gb * 1e9)])
        if heart.last_success_at is not None:
            value = heart.last_success_at.timestamp()
            yield _gauge("heartbeat_last_success_timestamp_seconds", "When it was sent.", [], [([], value)])
        yield _gauge("heartbeat_overdue", "1: two in a row did not succeed.", [], [([], heart.is_overdue)])
        yield from self._drift()
        yield _models(shown)

    def _peers(self) -> Iterator[Metric]:
        peers, labels = self._shown.peers, ["peer", "kind"]
        yield _gauge(
            "peer_last_success_timestamp_seconds",
            "When a peer last took something.",
            labels,
            [([p.name, p.kind], p.last_success_at.timestamp()) for p in peers if p.last_success_at is not None],
        )
        yield _gauge(
            "peer_failing", "1: the last try failed.", labels, [([p.name, p.kind], p.is_failing) for p in peers]
        )
        yield _gauge("peer_waiting", "Objects and messages.", labels, [([p.name, p.kind], p.waiting) for p in peers])

    def _drift(self) -> Iterator[Metric]:
        charts = [(scanner.scanner, c) for scanner in self._shown.drift for c in scanner.charts]
        labels = ["scanner", "property"]
        latest = [([scanner, c.name], c.values[-1]) for scanner, c in charts]
        yield _gauge("drift_average", "EWMA of sequential normal scores.", labels, latest)
        yield _gauge("drift_limit", "It rings beyond.", labels, [([scanner, c.name], c.limit) for scanner, c in charts])
        yield _gauge("drift_alarm", "1: it rings.", labels, [([scanner, c.name], c.is_alarm) for scanner, c in charts])


def _gauge(name: str, words: str, labels: list[str], values: Iterable[tuple[list[str], float]]) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, words, labels=labels)
    for label_values, value in values:
        family.add_metric([str(v) for v in label_values], float(value))
    return family


def _models(shown: Standing) -> Metric:
    family = InfoMetricFamily(_PREFIX + "model", "Models on the disk.", labels=["name"])
    for m in shown.models:
        if m.digest:
            family.add_metric([m.name], {"version": m.version, "digest": m.digest})
    return family


def _seconds(at: datetime, since: datetime | None) -> float:
    return 0.0 if since is None else (at - since).total_seconds()
