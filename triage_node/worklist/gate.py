"""The evidence gate for the worklists of others (DESIGN.md section 4): may this peer be told of this study?"""

from __future__ import annotations

from dataclasses import dataclass

from triage_node.domain.finding import EvidenceLevel
from triage_node.domain.priority import Mode, ReadingState, WorklistRow

_OPEN = frozenset({ReadingState.WAITING, ReadingState.BEING_READ, ReadingState.NOT_CONFIRMED})


@dataclass(frozen=True, slots=True)
class Listener:
    """Somebody who may be told. `loopback`: on this machine."""

    name: str
    loopback: bool


def may_reach(listener: Listener, simulation: bool) -> tuple[bool, str]:
    """Whether anything at all may go there: simulated patients never reach a real list."""
    if simulation and not listener.loopback:
        return False, "simulated studies go to this machine only"
    return True, ""


def may_raise(
    listener: Listener, row: WorklistRow, level: EvidenceLevel, mode: Mode, simulation: bool
) -> tuple[bool, str]:
    """Whether a raise may go there, and why not: E2 and active, live, flagged, waiting to be read, not observed apart.

    `level`: of the output that raises, at this site. In a simulation any level will do. A withdrawal asks `may_reach` alone:
    what a person takes back is taken back in every mode.
    """
    reachable, why = may_reach(listener, simulation)
    if not reachable:
        return False, why
    if mode is not Mode.ACTIVE:
        return False, "the node observes"
    if not simulation and level.value < EvidenceLevel.E2.value:
        return False, "there is no evaluation of this site (E2)"
    if row.apart:
        return False, "the node only observes this study"
    if not row.live:
        return False, "the study is not live"
    if row.flag is None:
        return False, "the flag was ended"
    if row.reading_state not in _OPEN:
        return False, "the study was read" if row.reading_state is ReadingState.READ else "the study has left the list"
    return True, ""
