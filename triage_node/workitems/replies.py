"""What follows from the answer of a UPS manager to a raise: one table for DIMSE statuses, one for HTTP statuses.

Source: PS3.4 CC.2.5.4, CC.2.6.4 and CC.2.8.4, PS3.7 Annex C, PS3.18 section 11; STANDARDS.md 3.2.5.
"""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """LOOK_AGAIN: what we knew of the workitem is out of date; once more from the question on, and stop at the second time.

    C301 is among them: a workitem that was claimed between question and change wants a Transaction UID that we cannot know.
    """

    DONE = "done"
    EXISTS = "exists"
    TOO_LATE = "too late"
    LOOK_AGAIN = "look again"
    RETRY = "retry"
    STOP = "stop"


_DIMSE = {
    0x0000: Verdict.DONE,
    0x0001: Verdict.DONE,  # done, without some optional attributes
    0x0107: Verdict.DONE,  # attribute list error: a warning, the rest was taken
    0x0111: Verdict.EXISTS,
    0x0116: Verdict.DONE,  # attribute value out of range: a warning
    0xC300: Verdict.TOO_LATE,
    0xC302: Verdict.TOO_LATE,
    0xC311: Verdict.TOO_LATE,
    0x0112: Verdict.LOOK_AGAIN,
    0xC301: Verdict.LOOK_AGAIN,
    0xC307: Verdict.LOOK_AGAIN,
    0x0110: Verdict.RETRY,
    0x0213: Verdict.RETRY,
    0x0211: Verdict.STOP,
    0x0212: Verdict.STOP,
    0xA900: Verdict.STOP,
}
_DIMSE_RANGES = (
    (0x0100, 0x01FF, Verdict.STOP),  # PS3.7 Annex C: what we sent is not acceptable, or we are not
    (0xB300, 0xB3FF, Verdict.DONE),
    (0xC300, 0xC3FF, Verdict.STOP),
)

_HTTP = {
    200: Verdict.DONE,
    201: Verdict.DONE,
    202: Verdict.DONE,
    204: Verdict.DONE,
    206: Verdict.DONE,
    404: Verdict.LOOK_AGAIN,
    408: Verdict.RETRY,
    409: Verdict.LOOK_AGAIN,
    410: Verdict.LOOK_AGAIN,
    425: Verdict.RETRY,
    429: Verdict.RETRY,
    501: Verdict.STOP,
    505: Verdict.STOP,
}


def of_dimse_status(status: int) -> Verdict:
    """An unknown status is retried: the message expires, while a raise that is dropped is lost."""
    if status in _DIMSE:
        return _DIMSE[status]
    for first, last, verdict in _DIMSE_RANGES:
        if first <= status <= last:
            return verdict
    return Verdict.RETRY


def of_http_status(status: int) -> Verdict:
    """A redirect stops: the address is configured, and a peer has no say in where a finding goes."""
    if status in _HTTP:
        return _HTTP[status]
    return Verdict.STOP if 300 <= status < 500 else Verdict.RETRY
