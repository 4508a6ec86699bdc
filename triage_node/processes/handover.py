"""One process takes over from another of its role: the new one says over a pipe when the old one may go, or why it has to stay."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from dataclasses import dataclass

DESCRIPTOR = "TRIAGE_HANDOVER_FD"
READY = b"ready\n"
LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Predecessor:
    """In the new process: the old one, as far as it can be reached. Whoever is at the other end may be gone."""

    descriptor: int

    @classmethod
    def named_in(cls, environment: MutableMapping[str, str]) -> Predecessor | None:
        """None where nobody is to be taken over from. Children of this process do not see it."""
        text = environment.pop(DESCRIPTOR, "")
        if not text:
            return None
        os.set_inheritable(int(text), False)
        return cls(int(text))

    def may_go(self) -> None:
        self._say(READY)

    def must_stay(self, why: str) -> None:
        self._say(why.encode()[:LONGEST])

    def _say(self, words: bytes) -> None:
        try:
            os.write(self.descriptor, words)
        except BrokenPipeError:  # the supervisor went: this process follows it
            pass
        finally:
            os.close(self.descriptor)
