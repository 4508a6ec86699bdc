"""How many instances each study brought since the start, over all processes that receive.

A table in shared memory with a part for each process: it writes its own part and reads them all, so no lock goes across
processes. A study whose place another one takes begins again at 0: the count protects the disk from one endless study,
it is no inventory.
"""

from __future__ import annotations

import hashlib
import mmap
import threading

_PLACES = 4096
_ENTRY = 2  # numbers of 64 bits: which study, how many instances


class StudyCounts:
    """The part of one process; `of` gives the parts of the others. Made before the processes part."""

    def __init__(self, processes: int) -> None:
        self._processes, self._mine = processes, 0
        self._table = memoryview(mmap.mmap(-1, processes * _PLACES * _ENTRY * 8)).cast("Q")
        self._lock = threading.Lock()

    def of(self, process: int) -> StudyCounts:
        """The same table, seen by another process."""
        other = object.__new__(StudyCounts)
        other._processes, other._mine, other._table = self._processes, process, self._table
        other._lock = threading.Lock()
        return other

    def add(self, study_instance_uid: str) -> None:
        key = _key(study_instance_uid)
        at = self._place(self._mine, key)
        with self._lock:
            if self._table[at] != key:
                self._table[at], self._table[at + 1] = key, 0
            self._table[at + 1] += 1

    def total(self, study_instance_uid: str) -> int:
        key = _key(study_instance_uid)
        places = (self._place(process, key) for process in range(self._processes))
        return sum(self._table[at + 1] for at in places if self._table[at] == key)

    @staticmethod
    def _place(process: int, key: int) -> int:
        return (process * _PLACES + key % _PLACES) * _ENTRY


def _key(study_instance_uid: str) -> int:
    return int.from_bytes(hashlib.blake2b(study_instance_uid.encode(), digest_size=8).digest(), "little")
