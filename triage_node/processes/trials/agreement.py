"""How far two models agree on whether to flag.

Cohen's kappa: J. Cohen, Educ Psychol Meas 1960; its standard error: J. L. Fleiss, J. Cohen, B. S. Everitt, Psychol Bull 1969, eq. 13.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from triage_node.console.shadow import Agreement
from triage_node.domain.trial import ShadowReading

_Z95 = 1.959964
FEW, FEW_FLAGGED = 50, 10
"""Below this many studies, or flags of either model, the page says that they are few."""


def agreement(readings: Sequence[ShadowReading]) -> Agreement:
    """Of the studies that both have read."""
    both = [r for r in readings if r.shadow_flagged is not None]
    counts = [
        [sum(r.flagged is first and r.shadow_flagged is second for r in both) for second in (True, False)]
        for first in (True, False)
    ]
    (flagged, only_first), (only_second, neither) = counts
    days = (both[-1].at - both[0].at).total_seconds() / 86400 if both else 0.0
    told = kappa(counts)
    return Agreement(
        both_flag=flagged,
        only_first=only_first,
        only_second=only_second,
        neither=neither,
        kappa=told[0] if told else None,
        interval=told[1] if told else None,
        days=max(days, 1.0),
        few=len(both) < FEW or min(flagged + only_first, flagged + only_second) < FEW_FLAGGED,
    )


def kappa(counts: Sequence[Sequence[int]]) -> tuple[float, tuple[float, float]] | None:
    """(kappa, 95 % interval) of a 2x2 table; None where chance alone gives full agreement, or nothing was counted."""
    n = sum(map(sum, counts))
    if n == 0:
        return None
    p = [[c / n for c in row] for row in counts]
    rows, columns = [sum(row) for row in p], [sum(column) for column in zip(*p, strict=True)]
    by_chance = sum(r * c for r, c in zip(rows, columns, strict=True))
    if by_chance >= 1:
        return None
    k = (p[0][0] + p[1][1] - by_chance) / (1 - by_chance)
    a = sum(p[i][i] * (1 - (rows[i] + columns[i]) * (1 - k)) ** 2 for i in range(2))
    b = (1 - k) ** 2 * sum(p[i][j] * (columns[i] + rows[j]) ** 2 for i in range(2) for j in range(2) if i != j)
    c = (k - by_chance * (1 - k)) ** 2
    half = _Z95 * math.sqrt(max(a + b - c, 0.0) / n) / (1 - by_chance)
    return k, (max(k - half, -1.0), min(k + half, 1.0))
