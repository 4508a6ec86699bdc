"""How sure a share is: 95 % intervals whose unit is the patient (PAPERS.md 9.3)."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_Z = NormalDist().inv_cdf(0.975)


def proportion_interval(hits: NDArray[np.bool_], patients: NDArray[np.intp]) -> tuple[float, float] | None:
    """95 % Wilson interval of a share, with the number of rows that clustering by patient leaves (Rao and Scott 1992).

    With one row a patient this is Wilson's own. When all rows agree, or come from one patient, clustering cannot be measured:
    patients are counted.
    """
    n = len(hits)
    if n == 0:
        return None
    p = float(hits.mean())
    _, cluster = np.unique(patients, return_inverse=True)
    k = int(cluster.max()) + 1
    effective = float(n)
    if k < n:
        if 0 < p < 1 and k > 1:
            residual = np.bincount(cluster, hits - p, k)
            variance = k / (k - 1) * float((residual**2).sum()) / n**2
            effective = n / max(1.0, variance * n / (p * (1 - p)))
        effective = float(k) if k == 1 or not 0 < p < 1 else max(1.0, effective)
    return wilson(p, effective)


def wilson(p: float, n: float) -> tuple[float, float]:
    """95 % interval of a share `p` of `n` (n may be no whole number)."""
    middle, half = p + _Z * _Z / (2 * n), _Z * sqrt(p * (1 - p) / n + _Z * _Z / (4 * n * n))
    low, high = (middle - half) / (1 + _Z * _Z / n), (middle + half) / (1 + _Z * _Z / n)
    # where all agree one end is the share itself, but for the last bit
    return min(max(0.0, low), p), max(min(1.0, high), p)
