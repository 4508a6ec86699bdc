"""Lengths of time as a tired reader takes them in: two units at most, minutes as the smallest."""

from __future__ import annotations

from datetime import timedelta


def in_words(length: timedelta) -> str:
    """A length of time, rounded down: "4 min", "2 h 5 min", "24 h", "3 d 4 h". Negative lengths read as zero."""
    minutes = max(int(length.total_seconds() // 60), 0)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def ago(length: timedelta) -> str:
    """How long ago; an instant in the future (a clock that goes ahead) reads as "just now"."""
    return "just now" if length < timedelta(minutes=1) else f"{in_words(length)} ago"


def until(length: timedelta) -> str:
    """Time to a bound. The last minute reads "in under 1 min", so that "in 0 min" never stands beside "overdue"."""
    if length <= timedelta(0):
        late = -length
        return "overdue" if late < timedelta(minutes=1) else f"overdue by {in_words(late)}"
    return "bound in under 1 min" if length < timedelta(minutes=1) else f"bound in {in_words(length)}"
