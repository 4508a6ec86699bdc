"""How often somebody may try to log in.

A name is closed for the address that failed, not for everybody: else anybody could keep a colleague out. The first FREE
tries cost nothing, then each failure doubles the wait; one failure is forgiven each FORGIVEN_S, so that no door stays closed. One
address may fail MOST_PER_ADDRESS times, whatever the names, forgiven likewise. It is kept in memory, in bounded size; names as
hashes, since people type passwords into the name field.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

FREE = 4
FIRST_WAIT_S, LONGEST_WAIT_S, FORGIVEN_S = 15.0, 600.0, 60.0
MOST_PER_ADDRESS = 40
_MOST_KEPT = 20_000


@dataclass(frozen=True, slots=True)
class _Failures:
    """How many at `last`, those left out that were forgiven until then."""

    number: float
    last: datetime


class Attempts:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: OrderedDict[tuple[str, ...], _Failures] = OrderedDict()

    def wait_s(self, name: str, address: str, at: datetime) -> float:
        """Seconds until this name may be tried from this address; 0 when it may be now."""
        with self._lock:
            by_name = self._failures.get((address, _plain(name)))
            everything = self._failures.get((address,))
        waits = [0.0]
        if by_name is not None and by_name.number > FREE - 1:
            wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(math.ceil(by_name.number) - FREE, 16))
            waits.append(wait - (at - by_name.last).total_seconds())
        if everything is not None and _left(everything, at) > MOST_PER_ADDRESS - 1:
            waits.append(FORGIVEN_S)
        return max(waits)

    def failed(self, name: str, address: str, at: datetime) -> None:
        with self._lock:
            for key in ((address, _plain(name)), (address,)):
                self._failures[key] = _Failures(1 + _left(self._failures.get(key), at), at)
                self._failures.move_to_end(key)
            while len(self._failures) > _MOST_KEPT:
                self._failures.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        with self._lock:
            self._failures.pop((address, _plain(name)), None)


def _left(failures: _Failures | None, at: datetime) -> float:
    if failures is None:
        return 0.0
    return max(0.0, failures.number - (at - failures.last).total_seconds() / FORGIVEN_S)


def _plain(name: str) -> str:
    return hashlib.sha256(name.strip().lower().encode("utf-8", "replace")).hexdigest()
