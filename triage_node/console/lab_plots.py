"""Coordinates of the lab's drawings. The drawings themselves are SVG in the templates: no script, no library, no inline style."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from triage_node.domain.finding import OperatingPoint
from triage_node.domain.replay import Replay, Wait

SIDE = 200.0
"""Width and height of a plot's area."""
WIDE, HIGH = 460.0, 130.0


@dataclass(frozen=True, slots=True)
class Line:
    """A threshold across the bars."""

    x: float
    action: str
    value: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One bin, from below: unknown truth, without a bleed, with one. (y, height) each."""

    x: float
    width: float
    unknown: tuple[float, float]
    negative: tuple[float, float]
    positive: tuple[float, float]


def path(points: Sequence[tuple[float, float]]) -> str:
    """Points of the unit square as an SVG path; what lies on one line is drawn once."""
    kept = [p for i, p in enumerate(points) if i in (0, len(points) - 1) or not _between(*points[i - 1 : i + 2])]
    return "M" + "L".join(f"{x * SIDE:.1f} {(1 - y) * SIDE:.1f}" for x, y in kept)


def bars(replay: Replay) -> list[Bar]:
    most = max((sum(counts) for _, *counts in replay.bars), default=0) or 1
    width = WIDE / len(replay.bars)
    drawn = []
    for start, positive, negative, unknown in replay.bars:
        parts, y = [], HIGH
        for count in (unknown, negative, positive):
            high = HIGH * count / most
            y -= high
            parts.append((round(y, 1), round(high, 1)))
        drawn.append(Bar(round(start * WIDE, 1), round(width - 1.5, 1), parts[0], parts[1], parts[2]))
    return drawn


def lines(point: OperatingPoint | None) -> list[Line]:
    if point is None:
        return []
    told = (("not sure", point.unsure_from), ("raise", point.raise_probability), ("notify", point.notify_probability))
    return [Line(round(value * WIDE, 1), action, value) for action, value in told if value is not None]


def lengths(waits: Iterable[Wait]) -> list[tuple[Wait, float, bool]]:
    """Rows with the share of half a bar that their gain takes, and whether it is one."""
    rows = list(waits)
    most = max((abs(w.gained) for w in rows), default=0.0) or 1.0
    return [(w, round(abs(w.gained) / most, 3), w.gained >= 0) for w in rows]


def _between(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (a[0] == b[0] == c[0]) or (a[1] == b[1] == c[1])
