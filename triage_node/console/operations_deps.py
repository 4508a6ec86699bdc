"""What the operations page shows, as plain values. `processes/operations` fills them from the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from triage_node.domain.person import Person

History = tuple[float | None, ...]
"""One value for each equal piece of the last 24 hours, oldest first; None where nothing happened."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong and what to do about it, each one sentence. `is_urgent`: studies or flags are late because of it."""

    what: str
    todo: str
    is_urgent: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the way. `depth`: studies in it now, None for what has no queue; `since`: of the oldest of them.

    `p50_s`, `p95_s`: of `count` studies of the last hour. `bound_s`: an alarm when p95 is above it; None: none is stated.
    """

    name: str
    depth: int | None
    since: datetime | None
    count: int
    p50_s: float | None
    p95_s: float | None
    bound_s: float | None
    history: History

    @property
    def is_slow(self) -> bool:
        return self.bound_s is not None and self.p95_s is not None and self.p95_s > self.bound_s


@dataclass(frozen=True, slots=True)
class Peer:
    """`kind`: archive, worklist, person or monitor. `waiting`: objects or messages, the oldest `since`."""

    name: str
    kind: str
    last_success_at: datetime | None
    last_failure_at: datetime | None
    last_failure: str
    waiting: int
    since: datetime | None

    @property
    def is_failing(self) -> bool:
        return bool(self.last_failure)


@dataclass(frozen=True, slots=True)
class ParkedDelivery:
    """`key` names it for `OperationsDeps.retry`. `what`: "seg", "raise" and so on."""

    key: str
    peer: str
    what: str
    study_instance_uid: str
    at: datetime
    reason: str
    tries: int


@dataclass(frozen=True, slots=True)
class Disk:
    free_gb: float
    total_gb: float
    warn_gb: float
    stop_gb: float


@dataclass(frozen=True, slots=True)
class Model:
    """`outputs`: (name, evidence level, whether this site measured it itself). `problem`: why it is not what runs; else empty."""

    name: str
    version: str
    digest: str
    outputs: tuple[tuple[str, str, bool], ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat: `passed` None while it is on its way. `took`: from sending to the check."""

    sent_at: datetime
    passed: bool | None
    words: str
    took: timedelta | None


@dataclass(frozen=True, slots=True)
class Heart:
    """`every` None: switched off. `beats`: newest first."""

    every: timedelta | None
    last_success_at: datetime | None
    is_overdue: bool
    beats: tuple[Beat, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """One property of one scanner: the EWMA of its normal scores, oldest first, inside -limit..limit while nothing drifts.

    `latest`: the property over the last studies in its own unit, `usual`: before them.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    limit: float
    is_alarm: bool
    latest: float | None
    usual: float | None


@dataclass(frozen=True, slots=True)
class ScannerDrift:
    """`why_not` says why nothing is judged yet; then there are no charts."""

    scanner: str
    studies: int
    charts: tuple[Chart, ...]
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything on the page. `problems`: urgent ones first. `queue`: studies that waited, over the last 24 hours."""

    problems: tuple[Problem, ...]
    stages: tuple[Stage, ...]
    queue: History
    peers: tuple[Peer, ...]
    parked: tuple[ParkedDelivery, ...]
    disk: Disk | None
    models: tuple[Model, ...]
    heart: Heart
    drift: tuple[ScannerDrift, ...]
    false_alarms: str
    """How often a chart rings although nothing changed, in words."""


@dataclass(frozen=True, slots=True)
class OperationsDeps:
    """`retry` (key, who) and `accept` (scanner, who) raise RefusedAction. `is_ready`: why the node takes no work, else empty."""

    standing: Callable[[], Standing]
    retry: Callable[[str, Person], None]
    accept: Callable[[str, Person], None]
    metrics: Callable[[], bytes]
    why_not_ready: Callable[[], str]
