"""Waiting for a condition instead of sleeping for a guess."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


PATIENCE = 4
"""How many times longer than a quiet machine a loaded one may take. Waits guard against hanging; none of them is a measurement."""


def wait_until(condition: Callable[[], T], seconds: float, what: str, step_s: float = 0.02) -> T:
    """Return the first true value of `condition`; fail with `what` when it stays false.

    `seconds`: what a quiet machine needs at most. `step_s`: from one look to the next; longer where looking costs what is waited for.
    """
    deadline = time.monotonic() + PATIENCE * seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE * seconds:g} s in vain for: {what}")
        time.sleep(step_s)
