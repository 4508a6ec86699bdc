"""Has a scanner changed? A control chart that needs no model of what is usual, and whose false alarms are counted beforehand.

Each value is turned into its rank among all values so far, the present one included. While nothing changes, whatever the values'
distribution is, these sequential ranks are independent and uniform; ties are broken by a coin that hangs on the study, so that
yes/no and round numbers are no exception. As normal scores they feed an exponentially weighted moving average, whose average run
length to a false alarm follows from a Markov chain. No reference is estimated, so nothing is lost by a short one.

Sources: Conover, Tercero-Gomez and Cordero-Franco, "The sequential normal scores transformation", Sequential Analysis 36 (2017);
Brook and Evans, "An approach to the probability distribution of CUSUM run length", Biometrika 59 (1972), used for the EWMA as in
Lucas and Saccucci, "Exponentially weighted moving average control schemes", Technometrics 32 (1990).
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from functools import cache
from statistics import NormalDist

import numpy as np

SMOOTHING = 0.1
"""Weight of the newest study: a change that stays is seen within some tens of studies."""
AVERAGE_RUN_LENGTH = 5000.0
"""The stated rate: while nothing changes, a chart begins to ring once in so many studies."""
WARM_UP = 50
"""Studies that are ranked before the chart begins; ranks among fewer are too coarse."""

_NORMAL = NormalDist()
_STATES = 141
_error_function = np.frompyfunc(math.erf, 1, 1)
"""Not scipy's: 14 MB more in two processes, from the hundredth study of a scanner on."""


def normal_scores(values: Iterable[float], keys: Iterable[str]) -> list[float]:
    """Sequential normal scores. `keys` decide between equal values: the same studies always give the same scores."""
    seen: list[tuple[float, float]] = []
    scores = []
    for value, key in zip(values, keys, strict=True):
        ranked = (value, _coin(key))
        insort(seen, ranked)
        rank = bisect_left(seen, ranked) + 1
        scores.append(_NORMAL.inv_cdf((rank - 0.5) / len(seen)))
    return scores


def spread(scores: Iterable[float]) -> list[float]:
    """Scores that grow with the distance from the middle; standard normal where `scores` are."""
    return [_NORMAL.inv_cdf(min(max(2 * _NORMAL.cdf(abs(z)) - 1, 1e-9), 1 - 1e-9)) for z in scores]


def moving_average(scores: Sequence[float], warm_up: int = WARM_UP) -> list[float]:
    """The EWMA of the scores after the warm-up, beginning at zero."""
    at, found = 0.0, []
    for score in scores[warm_up:]:
        at += SMOOTHING * (score - at)
        found.append(at)
    return found


@cache
def limit(average_run_length: float = AVERAGE_RUN_LENGTH) -> float:
    """How far the EWMA may go from zero, so that it stays within for so many studies on average."""
    low, high = 0.05, 2.0
    for _ in range(30):
        middle = (low + high) / 2
        if run_length(middle) < average_run_length:
            low = middle
        else:
            high = middle
    return high


def run_length(within: float) -> float:
    """Studies until an EWMA of standard normal values leaves -within..within for the first time, on average."""
    width = 2 * within / _STATES
    middles = -within + width * (np.arange(_STATES) + 0.5)
    # from a state the EWMA goes to (1 - SMOOTHING) * state + SMOOTHING * z
    edges = (np.arange(_STATES + 1) * width - within)[None, :] - (1 - SMOOTHING) * middles[:, None]
    cumulated = 0.5 * (1 + _error_function(edges / (SMOOTHING * math.sqrt(2))).astype(float))
    stays = np.diff(cumulated, axis=1)
    lengths = np.linalg.solve(np.eye(_STATES) - stays, np.ones(_STATES))
    return float(lengths[_STATES // 2])


def _coin(key: str) -> float:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest()) / math.ldexp(1, 48)
