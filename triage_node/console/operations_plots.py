"""Coordinates of the small drawings on the operations page. The drawings are SVG in the templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDE, HIGH = 240.0, 48.0
"""View box of a drawing."""
_EDGE = 3.0
_MOST_POINTS = 120


@dataclass(frozen=True, slots=True)
class Spark:
    """`line`: SVG path with a gap where nothing happened; `bound`: height of the alarm line; `top`: the value at the upper edge."""

    line: str
    bound: float | None
    top: float


@dataclass(frozen=True, slots=True)
class Control:
    """A control chart: `line`, and the heights of the two bounds and of the middle."""

    line: str
    upper: float
    middle: float
    lower: float


def spark(history: Sequence[float | None], bound: float | None = None) -> Spark:
    """A history from zero upwards; a bound that lies far above the values is not drawn."""
    top = max((v for v in history if v is not None), default=0.0)
    if bound is not None and bound <= 2.5 * top:
        top = max(top, bound)
    else:
        bound = None
    top = top or 1.0
    step = WIDE / max(len(history) - 1, 1)
    points = [None if v is None else (i * step, _y(v / top)) for i, v in enumerate(history)]
    return Spark(_path(points), None if bound is None else _y(bound / top), top)


def control(values: Sequence[float], limit: float) -> Control:
    """The newest points of an EWMA between its bounds; what leaves them far is drawn at the edge."""
    shown = list(values)[-_MOST_POINTS:]
    reach = 1.5 * limit
    step = WIDE / max(len(shown) - 1, 1)

    def y(value: float) -> float:
        return _y((min(max(value, -reach), reach) + reach) / (2 * reach))

    return Control(_path([(i * step, y(v)) for i, v in enumerate(shown)]), y(limit), y(0.0), y(-limit))


def _y(share: float) -> float:
    return round(HIGH - _EDGE - share * (HIGH - 2 * _EDGE), 1)


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    parts, pen_is_down = [], False
    for point in points:
        if point is None:
            pen_is_down = False
            continue
        parts.append(f"{'L' if pen_is_down else 'M'}{point[0]:.1f} {point[1]:.1f}")
        if not pen_is_down:
            parts.append("h0.1")  # a point between two gaps is seen too
        pen_is_down = True
    return "".join(parts)
