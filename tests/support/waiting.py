"""Waiting for a condition instead of sleeping for a guess."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


PATIENCE = 4
"""How many times longer than a quiet machine a loaded one may take. Waits guard against hanging; none of them is a measurement."""


LONGEST_STEP_S = 0.5


def wait_until(condition: Callable[[], T], seconds: float, what: str, step_s: float = 0.02) -> T:
    """Return the first true value of `condition`; fail with `what` when it stays false.

    `seconds`: what a quiet machine needs at most. `step_s`: from one look to the next, at least: a look that takes long, as at a
    page of a busy node, is followed by a longer step, or looking would take the processor from what is waited for.
    """
    deadline = time.monotonic() + PATIENCE * seconds
    while True:
        began = time.monotonic()
        value = condition()
        if value:
            return value
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(f"waited {PATIENCE * seconds:g} s in vain for: {what}")
        time.sleep(max(step_s, min(LONGEST_STEP_S, 9 * (now - began))))
