"""What other thresholds would have done with recent studies, as figures that say what they rest on."""

from __future__ import annotations

from dataclasses import dataclass

from triage_node.domain.finding import Answer

SMALL = 30
"""Studies below which a figure is said to be small: half of its interval is then up to 18 points wide."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its 95 % interval; `value` None where it is not defined, with the reason in `why`."""

    value: float | None
    low: float = 0.0
    high: float = 1.0
    hits: int = 0
    n: int = 0
    why: str = ""

    @property
    def is_small(self) -> bool:
        return self.value is not None and self.n < SMALL


@dataclass(frozen=True, slots=True)
class Rate:
    """Per day, with a 95 % interval. `value` None: only the bounds are known."""

    value: float | None
    low: float
    high: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Side:
    """One policy on the same studies. `ppv` as found; `ppv_local` by Bayes' rule at the local prevalence."""

    answers: dict[Answer, int]
    flags_per_day: float
    notices_per_day: float
    sensitivity: Share
    specificity: Share
    ppv: Share
    ppv_local: Share
    false_alarms_per_day: Rate
    false_notices_per_day: Rate


@dataclass(frozen=True, slots=True)
class Curve:
    """Points (x, y) in [0, 1], and where the two policies stand."""

    points: tuple[tuple[float, float], ...]
    in_force: tuple[float, float]
    candidate: tuple[float, float]
    area: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Mean minutes of some studies: in the plain order, and with flags. `gained` below 0 is lost. 95 % intervals.

    `longest_*`: of the one that waited longest, where the list was played.
    """

    who: str
    n: int
    plain: float
    in_force: float
    candidate: float
    gained: float
    gained_low: float | None = None
    gained_high: float | None = None
    longest_plain: float | None = None
    longest_candidate: float | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """`formula`, `played`: rows of waits, empty where `formula_why`, `played_why` say why not. `basis`: what was assumed."""

    utilisation: float
    readers: int
    reading_min: float
    formula: tuple[Wait, ...]
    formula_why: str
    played: tuple[Wait, ...]
    played_why: str
    basis: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """A study that would change side."""

    study_instance_uid: str
    label: str
    description: str
    probability: float
    before: Answer
    after: Answer
    truth: bool | None
    policy_version: int
    simulated_words: str = ""


@dataclass(frozen=True, slots=True)
class Replay:
    """`bars`: (from probability, studies with a bleed, without, of unknown truth) of equally wide bins."""

    studies: int
    days: float
    scope: str
    left_out: tuple[str, ...]
    truths: int
    covering: int
    positives: int
    prevalence: Share
    in_force: Side
    candidate: Side
    roc: Curve | None
    pr: Curve | None
    curves_why: str
    bars: tuple[tuple[float, int, int, int], ...]
    changed: tuple[Changed, ...]
    notes: tuple[str, ...]
