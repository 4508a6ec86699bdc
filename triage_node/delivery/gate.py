"""The evidence gate for objects (DESIGN.md section 4): what may leave the node, to whom."""

from __future__ import annotations

from dataclasses import dataclass

from triage_node.domain.finding import EvidenceLevel
from triage_node.domain.priority import Mode


@dataclass(frozen=True, slots=True)
class Destination:
    """`clinical`: false for an archive that is marked research. `loopback`: on this machine."""

    name: str
    clinical: bool
    loopback: bool


def may_reach(destination: Destination, simulation: bool) -> tuple[bool, str]:
    """Whether anything at all may go there. Asked again when objects leave: a configuration changes after they were queued."""
    if simulation and not destination.loopback:
        return False, f"{destination.name}: simulated studies go to this machine only"
    return True, ""


def may_send(destination: Destination, level: EvidenceLevel, mode: Mode, simulation: bool) -> tuple[bool, str]:
    """Whether SR, SEG and SC of this evidence level may go there, and why not.

    A research archive takes E0. A clinical archive takes E2 in active mode; in a simulation it takes anything in active
    mode if it is on this machine, since simulated patients must never reach a real archive.
    """
    reachable, why = may_reach(destination, simulation)
    if not reachable:
        return False, why
    if not destination.clinical:
        return True, ""
    if mode is not Mode.ACTIVE:
        return False, f"{destination.name}: the node observes"
    if not simulation and level.value < EvidenceLevel.E2.value:
        return False, f"{destination.name}: a clinical archive takes no result below this site's own evaluation (E2)"
    return True, ""
