"""What the world outside the node knows, and what an invariant is held against: promises, not rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime

from tests.simulated_faults.studies import Slice, Study
from triage_node.domain.study import StudyIdentity


@dataclass(slots=True)
class Ledger:
    """`sent`, `answered`: file name -> what went out, and what was answered 0x0000. `spoiled`: files that lost bytes on the disk although they were flushed.

    `sent_there`: (peer, UID) -> every content that arrived there. `disagreed`: studies of which a person ended the flag.
    """

    studies: dict[str, Study] = field(default_factory=dict)
    sent: dict[str, Slice] = field(default_factory=dict)
    answered: dict[str, Slice] = field(default_factory=dict)
    refused: Counter[int] = field(default_factory=Counter)
    spoiled: set[str] = field(default_factory=set)
    sent_there: dict[tuple[str, str], list[bytes]] = field(default_factory=lambda: defaultdict(list))
    sent_at: dict[tuple[str, str], list[datetime]] = field(default_factory=lambda: defaultdict(list))
    disagreed: set[str] = field(default_factory=set)
    corrected: dict[str, list[tuple[float, StudyIdentity]]] = field(default_factory=lambda: defaultdict(list))
    paused: list[tuple[float, bool]] = field(default_factory=list)
    told: list[tuple[float, str, str, str]] = field(default_factory=list)
    """(world's time, peer, message id, study) of each raise that a list of others or a person was sent."""
    notes: list[str] = field(default_factory=list)
    """What others saw that must never be: a lowered priority, an object with two contents."""
