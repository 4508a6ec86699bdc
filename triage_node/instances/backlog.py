"""How far rows are behind what was received, for every process that receives.

A sender that is answered a moment later sends more slowly; one that is refused has to send again. So while rows are behind,
each answer waits for them a little, and only where the database takes none for long does anybody get a refusal.
"""

from __future__ import annotations

import mmap
import time

LONGEST_S = 0.25
"""A study of 300 slices takes a minute longer at most. Senders wait 10 s and more for an answer."""

_STEP_S = 0.01
_BEHIND, _FULL = 0, 1


class Backlog:
    """In shared memory: made before the processes part. The journal says, receptions ask."""

    def __init__(self) -> None:
        self._flags = mmap.mmap(-1, mmap.PAGESIZE)

    def say(self, is_behind: bool, is_full: bool) -> None:
        self._flags[_BEHIND], self._flags[_FULL] = is_behind, is_full

    @property
    def is_full(self) -> bool:
        """Whether so many rows wait that nothing more may be received."""
        return self._flags[_FULL] != 0

    def give_way(self) -> None:
        """Wait while rows are behind, for LONGEST_S at most."""
        until = time.monotonic() + LONGEST_S
        while self._flags[_BEHIND] and time.monotonic() < until:
            time.sleep(_STEP_S)
