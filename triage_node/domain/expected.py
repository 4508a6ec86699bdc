"""What others say a series consists of: who said so, and when. No patient is named in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class CountSource(StrEnum):
    """Who told, in the words that stand in a study's timeline. In the order of trust."""

    MPPS = "MPPS COMPLETED"
    IAN = "IAN"
    C_FIND = "C-FIND"


class StepState(StrEnum):
    """States of a Modality Performed Procedure Step (PS3.4 F.7.1)."""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"

    @property
    def is_final(self) -> bool:
        return self is not StepState.IN_PROGRESS


Series = Mapping[str, frozenset[str]]
"""Series Instance UID -> SOP Instance UIDs of its CT images."""


@dataclass(frozen=True, slots=True)
class ExpectedCount:
    """One source's word on one series.

    `sop_instance_uids`: the CT images that MPPS or IAN named. Empty for an archive, which tells how many instances of any kind it
    holds. `first_told_at`: since when the same is told; later than that `told_at` says it was told more than once.
    """

    series_instance_uid: str
    source: CountSource
    instances: int
    first_told_at: datetime
    told_at: datetime
    sop_instance_uids: frozenset[str] = frozenset()
