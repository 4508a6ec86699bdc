"""Mean waits on a reading list with and without flags, in closed form.

Poisson arrivals, exponential reading times with one mean, one list, first come first served inside a class. Source: Thompson et
al., arXiv 2303.07050 (QuCAD), and the textbook formulas of priority queues (Cobham 1954); the tables of the project's paper
sheet, section 10, are the tests.

A reader finishes what is open, so *non-preemptive* is the case of a reading room; preemptive figures overstate the gain and are
here because the literature's are. Re-ordering creates no time: the mean over all studies stays what it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial


@dataclass(frozen=True, slots=True)
class ReadingRoom:
    """Arrivals per minute, mean minutes a study is read, readers of this list. Raises: ValueError for what cannot be."""

    arrivals_per_min: float
    reading_min: float
    readers: int

    def __post_init__(self) -> None:
        if not (self.arrivals_per_min > 0 and self.reading_min > 0 and self.readers >= 1):
            raise ValueError("arrivals and reading times are positive, and somebody reads")

    @property
    def utilisation(self) -> float:
        """Share of the readers' time that the list takes; from 1 on it grows without end."""
        return self.arrivals_per_min * self.reading_min / self.readers


@dataclass(frozen=True, slots=True)
class Test:
    """What flags a study. Shares in [0, 1]; prevalence among all studies of the list."""

    __test__ = False

    sensitivity: float
    specificity: float
    prevalence: float

    def __post_init__(self) -> None:
        if not all(0 <= share <= 1 for share in (self.sensitivity, self.specificity, self.prevalence)):
            raise ValueError("sensitivity, specificity and prevalence are shares from 0 to 1")

    @property
    def flagged_share(self) -> float:
        return self.prevalence * self.sensitivity + (1 - self.prevalence) * (1 - self.specificity)


@dataclass(frozen=True, slots=True)
class Waits:
    """Mean minutes from arrival to the start of reading. `plain`: of everybody, without flags.

    `diseased` and `others` are means by truth, flagged or not.
    """

    plain: float
    flagged: float
    unflagged: float
    diseased: float
    others: float

    @property
    def gained_by_bleeds(self) -> float:
        return self.plain - self.diseased

    @property
    def lost_by_missed_bleeds(self) -> float:
        return self.unflagged - self.plain

    @property
    def lost_by_others(self) -> float:
        return self.others - self.plain


def erlang_c(readers: int, load: float) -> float:
    """Chance that an arriving study waits at all; `load` = arrivals x reading time. Raises: ValueError from full load on."""
    if not 0 <= load < readers:
        raise ValueError("the list takes more time than its readers have: it grows without end")
    last = load**readers / (factorial(readers) * (1 - load / readers))
    return last / (sum(load**k / factorial(k) for k in range(readers)) + last)


def plain_wait(room: ReadingRoom) -> float:
    """M/M/c, first come first served. Raises: ValueError from full load on."""
    return _start_of_a_wait(room) / (1 - room.utilisation)


def flagged_first(room: ReadingRoom, flagged_share: float) -> tuple[float, float]:
    """Mean waits of flagged and unflagged studies; no reader is interrupted. Raises: ValueError from full load on."""
    first, second = ordered_classes(room, (flagged_share, 1 - flagged_share))
    return first, second


def flagged_interrupt(room: ReadingRoom, flagged_share: float) -> tuple[float, float]:
    """As `flagged_first`, where a flagged study interrupts an unflagged one (preemptive resume)."""
    plain, rho = plain_wait(room), flagged_share * room.utilisation
    first = erlang_c(room.readers, room.readers * rho) * room.reading_min / (room.readers * (1 - rho))
    # conservation: equal reading times, no reader idles while somebody waits
    rest = (plain - flagged_share * first) / (1 - flagged_share) if flagged_share < 1 else plain
    return first, rest


def by_truth(room: ReadingRoom, test: Test, interrupts: bool = False) -> Waits:
    """Waits of those who bleed and those who do not. Raises: ValueError from full load on."""
    flagged, unflagged = (flagged_interrupt if interrupts else flagged_first)(room, test.flagged_share)
    return Waits(
        plain_wait(room),
        flagged,
        unflagged,
        test.sensitivity * flagged + (1 - test.sensitivity) * unflagged,
        (1 - test.specificity) * flagged + test.specificity * unflagged,
    )


def ordered_classes(room: ReadingRoom, shares: Sequence[float]) -> list[float]:
    """Mean waits of classes, the first read first, nobody interrupted. `shares` of all studies, sum 1 (Cobham 1954)."""
    if abs(sum(shares) - 1) > 1e-9 or min(shares) < 0:
        raise ValueError("the shares of the classes sum to 1")
    waits, before = [], 0.0
    start = _start_of_a_wait(room)
    for share in shares:
        upto = before + share * room.utilisation
        waits.append(start / ((1 - before) * (1 - upto)))
        before = upto
    return waits


def interrupting_classes(arrivals_per_min: Sequence[float], reading_min: Sequence[float]) -> list[float]:
    """One reader, classes with reading times of their own, each interrupts those after it (preemptive resume).

    Raises: ValueError from full load on.
    """
    waits, before, moments = [], 0.0, 0.0
    for rate, reading in zip(arrivals_per_min, reading_min, strict=True):
        upto = before + rate * reading
        if upto >= 1:
            raise ValueError("the list takes more time than its reader has: it grows without end")
        moments += rate * reading**2  # half the second moment of an exponential time, twice
        waits.append(reading / (1 - before) + moments / ((1 - before) * (1 - upto)) - reading)
        before = upto
    return waits


def _start_of_a_wait(room: ReadingRoom) -> float:
    """Mean minutes until the first reader is free, over all arrivals."""
    return erlang_c(room.readers, room.arrivals_per_min * room.reading_min) * room.reading_min / room.readers
