"""A reading list played through, study by study (discrete events, SimPy): for arrivals that follow no formula.

Whoever is free takes what stands first; nobody is interrupted. What stands first is asked of the caller, so that the node's own
order can be played as well as a textbook's. No clock and no random number inside: the same studies give the same waits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

Choose = Callable[[Sequence[int], float], int]
"""(studies that wait, in the order of arrival; minute) -> the one that is read next."""
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Shape: (study,) each, in the order of arrival. Minutes since any start; minutes that reading takes."""

    at_min: Array
    reading_min: Array

    def __post_init__(self) -> None:
        if self.at_min.shape != self.reading_min.shape or self.at_min.ndim != 1:
            raise ValueError("each study has one arrival and one reading time")
        finite = np.isfinite(self.at_min).all() and np.isfinite(self.reading_min).all()
        if not finite or (np.diff(self.at_min) < 0).any() or (self.reading_min < 0).any():
            raise ValueError("studies come in the order of arrival and take time to be read")


def first_come(waiting: Sequence[int], minute: float) -> int:
    return waiting[0]


def flagged_first(flagged: NDArray[np.bool_]) -> Choose:
    """Flagged studies before the others, each in the order of arrival."""

    def choose(waiting: Sequence[int], minute: float) -> int:
        return next((study for study in waiting if flagged[study]), waiting[0])

    return choose


def waits(arrivals: Arrivals, readers: int, choose: Choose) -> Array:
    """Minutes from arrival to the start of reading. Shape: (study,). Raises: ValueError when nobody reads."""
    if readers < 1:
        raise ValueError("somebody reads")
    waited = np.zeros(len(arrivals.at_min))
    if not len(waited):
        return waited
    clock = simpy.Environment(initial_time=float(arrivals.at_min[0]))
    waiting: list[int] = []
    somebody_waits = simpy.Container(clock)

    def arrive() -> Generator[simpy.Event, Any, None]:
        for study, at in enumerate(arrivals.at_min):
            yield clock.timeout(max(0.0, at - clock.now))
            waiting.append(study)
            somebody_waits.put(1)

    def read() -> Generator[simpy.Event, Any, None]:
        while True:
            yield somebody_waits.get(1)
            study = choose(waiting, clock.now)
            waiting.remove(study)
            waited[study] = clock.now - arrivals.at_min[study]
            yield clock.timeout(arrivals.reading_min[study])

    clock.process(arrive())
    for _ in range(readers):
        clock.process(read())
    clock.run()
    return waited


def mean_of_runs(runs: Array) -> tuple[float, float, float]:
    """Mean of independent runs with its 95 % interval (Student's t). Shape: runs (run,), two or more."""
    if len(runs) < 2:
        raise ValueError("one run has no interval")
    mean, spread = float(runs.mean()), float(runs.std(ddof=1)) / float(np.sqrt(len(runs)))
    from scipy.special import stdtrit  # when a queue is played, not when the web process starts

    half = float(stdtrit(len(runs) - 1, 0.975)) * spread
    return mean, mean - half, mean + half
