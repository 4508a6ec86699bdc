"""Simulated bleeds on real or procedural heads. Everything drawn here is evidence level E0.

A head is a stack of Hounsfield units with an intracranial mask (`Head`). Each bleed function takes a head and a random
generator and returns the picture with blood, the mask, and what was drawn; None when the head has no place for it. The
same generator state gives the same bleed. Blood keeps the grain of the picture under it: a fill without noise is found
by its missing noise. Lengths in mm, densities in HU, volumes in mL.

Densities by age of the blood and what each type looks like: ML.md section 2 of the project's notes, which names what was
convincing there and what was not.
"""

from __future__ import annotations

from collections.abc import Callable

from triage_node.simulation.extra_axial import EDH_SUBTYPES, SDH_SUBTYPES, epidural, subdural
from triage_node.simulation.heads import Array, Bools, Drawn, Head, Random
from triage_node.simulation.intra_axial import (
    ANY,
    IPH_GROUPS,
    IVH_SUBTYPES,
    SAH_SUBTYPES,
    Wanted,
    intraventricular,
    parenchymal,
    subarachnoid,
)

__all__ = ["ANY", "BLEEDS", "KINDS", "SUBTYPES", "Array", "Bools", "Drawn", "Head", "Wanted", "draw"]

BLEEDS: dict[str, Callable[[Head, Random, Wanted], Drawn | None]] = {
    "iph": parenchymal,
    "ivh": intraventricular,
    "sah": subarachnoid,
    "sdh": subdural,
    "edh": epidural,
}
KINDS = tuple(BLEEDS)
SUBTYPES: dict[str, tuple[str, ...]] = {
    "iph": tuple(IPH_GROUPS),
    "ivh": IVH_SUBTYPES,
    "sah": SAH_SUBTYPES,
    "sdh": tuple(SDH_SUBTYPES),
    "edh": tuple(EDH_SUBTYPES),
}


def draw(kind: str, head: Head, rng: Random, tries: int = 6, wanted: Wanted = ANY) -> Drawn | None:
    """One bleed of a kind, drawn again when the head has no place for the first; None in a plastic head.

    Raises: ValueError for no such kind or subtype.
    """
    if kind not in BLEEDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if wanted.subtype is not None and wanted.subtype not in SUBTYPES[kind]:
        raise ValueError(f"subtype of {kind} must be one of {', '.join(SUBTYPES[kind])}, got {wanted.subtype!r}")
    if head.plastic or not len(head.slices):
        return None
    for _ in range(tries):
        drawn = BLEEDS[kind](head, rng, wanted)
        if drawn is not None:
            return drawn
    return None
