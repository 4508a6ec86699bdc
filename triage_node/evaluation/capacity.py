"""1,000 hospitals and 100,000 head CTs a day on hubs, by simulation with measured costs. Stochastic, one day, SimPy.

Studies come as a Poisson process whose rate follows the hours of a day, plus a burst. Each passes reception, the database,
analysis (to the flag, then the report, by the same worker) and delivery of its centre; a stage is a `Resource` of so many
cores, and its service takes the CPU seconds that `capacity_costs` measured, spread log-normally. The wait for completeness
(DESIGN.md section 5) is no resource. While a centre is lost, edges keep what they have (store and forward) until it is back,
or go to the others after a while. `closed_form.erlang_c` is the test where both apply.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, log, sqrt
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

STAGES = ("reception", "database", "analysis", "delivery")
DAY_S = 86_400.0
COMPLETE_S = 3.0
SPREAD = 0.3
"""Standard deviation of a service time over its mean: an assumption, as is all of `Load`."""
Draw = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Load:
    """`hours`: weights of the 24 hours; `burst`: studies that come on top within ten minutes, from `burst_at_h` on."""

    studies_a_day: int = 100_000
    sites: int = 1_000
    thin_share: float = 0.2
    hours: tuple[float, ...] = (3, 2, 2, 2, 2, 3, 4, 6, 9, 11, 12, 12, 11, 11, 10, 10, 9, 8, 8, 7, 6, 5, 4, 3)
    burst: int = 1_500
    burst_at_h: float = 14.0

    @property
    def peak_per_s(self) -> float:
        """Mean rate of the busiest hour, without the burst."""
        return self.studies_a_day * max(self.hours) / sum(self.hours) / 3600


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU seconds of one study by stage, for thick and thin ones; `report` is the part of analysis after the flag."""

    thick: Mapping[str, float]
    thin: Mapping[str, float]
    report: float = 0.4

    def mean(self, stage: str, thin_share: float) -> float:
        return (1 - thin_share) * self.thick[stage] + thin_share * self.thin[stage]


@dataclass(frozen=True, slots=True)
class Lost:
    """A centre that is gone from one hour to another. `moves_after_s`: then its edges send to the others; None: they wait."""

    centre: int
    from_h: float
    to_h: float
    moves_after_s: float | None


@dataclass(slots=True)
class Day:
    """One study a place: when its last slice was at the edge, and when it was flagged at a hub and delivered. Seconds."""

    arrived: NDArray[np.float64]
    flagged: NDArray[np.float64]
    delivered: NDArray[np.float64]
    busy: dict[str, float] = field(default_factory=dict)
    """Core seconds by stage, all centres."""

    @property
    def wait(self) -> NDArray[np.float64]:
        return self.flagged - self.arrived


def arrivals(load: Load, random: np.random.Generator) -> NDArray[np.float64]:
    """Instants in [0, DAY_S), ascending."""
    share = np.asarray(load.hours) / sum(load.hours)
    per_hour = random.poisson(load.studies_a_day * share)
    times = [random.uniform(h * 3600, (h + 1) * 3600, n) for h, n in enumerate(per_hour)]
    times.append(load.burst_at_h * 3600 + random.uniform(0, 600, load.burst))
    return np.sort(np.concatenate(times))


def sized(load: Load, costs: Costs, centres: int, utilisation: float = 0.7, spare: bool = True) -> dict[str, int]:
    """Cores of each stage in each centre: the busiest hour at most at this utilisation, with one centre lost if `spare`."""
    left = centres - 1 if spare and centres > 1 else centres
    need = {s: load.peak_per_s * costs.mean(s, load.thin_share) / utilisation / left for s in STAGES}
    return {stage: max(1, ceil(cores)) for stage, cores in need.items()}


def simulate(
    times: NDArray[np.float64],
    is_thin: NDArray[np.bool_],
    costs: Costs,
    cores: Sequence[Mapping[str, int]],
    draw: Draw,
    lost: Lost | None = None,
) -> Day:
    """Let every study through. `cores`: by stage, one mapping a centre; sites are spread over the centres evenly."""
    world = simpy.Environment()
    centres = [{s: simpy.PriorityResource(world, n) for s, n in held.items()} for held in cores]
    back = world.event()
    nowhere = np.full(len(times), np.nan)
    day = Day(times, nowhere.copy(), nowhere.copy(), dict.fromkeys(STAGES, 0.0))

    def is_lost(centre: int) -> bool:
        return lost is not None and centre == lost.centre and lost.from_h * 3600 <= world.now < lost.to_h * 3600

    def hold(slot: simpy.PriorityResource) -> Generator[Any, Any, None]:
        assert lost is not None
        with slot.request(priority=-1) as turn:
            yield turn
            yield world.timeout(max(0.0, lost.to_h * 3600 - world.now))

    def lose() -> Generator[Any, Any, None]:
        """What is at work in that instant ends or is done again, some seconds of work; the rest waits in its queue."""
        assert lost is not None
        yield world.timeout(lost.from_h * 3600)
        for slot in centres[lost.centre].values():
            for _ in range(slot.capacity):
                world.process(hold(slot))
        yield world.timeout((lost.to_h - lost.from_h) * 3600)
        back.succeed()

    def study(k: int, home: int) -> Generator[Any, Any, None]:
        if is_lost(home):
            assert lost is not None
            if lost.moves_after_s is None:
                yield back
            else:
                yield world.timeout(max(0.0, lost.from_h * 3600 + lost.moves_after_s - world.now))
                home = (home + 1 + k % (len(centres) - 1)) % len(centres)
        kind = costs.thin if is_thin[k] else costs.thick
        for stage in STAGES:
            with centres[home][stage].request(priority=0) as turn:
                yield turn
                if stage == "analysis":
                    yield from served(stage, kind[stage] * (1 - costs.report))
                    day.flagged[k] = world.now
                    yield from served(stage, kind[stage] * costs.report)
                else:
                    yield from served(stage, kind[stage])
            if stage == "reception":
                yield world.timeout(COMPLETE_S)
        day.delivered[k] = world.now

    def served(stage: str, mean_s: float) -> Generator[Any, Any, None]:
        took = draw(mean_s)
        day.busy[stage] += took
        yield world.timeout(took)

    def come() -> Generator[Any, Any, None]:
        for k, (before, at) in enumerate(pairwise([0.0, *times])):
            yield world.timeout(at - before)
            world.process(study(k, k % len(centres)))

    if lost is not None:
        world.process(lose())
    world.process(come())
    world.run()
    return day


def lognormal(random: np.random.Generator) -> Draw:
    """Service times with SPREAD."""
    sigma = sqrt(log(1 + SPREAD**2))

    def draw(mean_s: float) -> float:
        return mean_s * float(random.lognormal(-(sigma**2) / 2, sigma))

    return draw
