"""What a person says on a study's page: of the result, and of the reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

UNDO_FOR = timedelta(seconds=60)
"""So long a person may take back what they said; nobody outside the node is told of a disagreement before."""
LONGEST_TEXT = 500


class Said(StrEnum):
    """The first three are verdicts on the result. A study without a flag has a result too: that nothing was raised."""

    AGREE = "agree"
    DISAGREE = "disagree"
    UNCERTAIN = "uncertain"
    BEING_READ = "being read"
    RELEASED = "released"
    READ = "read"
    PINNED = "pinned"
    UNPINNED = "unpinned"
    RAISED = "raised"
    """A late flag takes part in the order from now on."""


VERDICTS = frozenset({Said.AGREE, Said.DISAGREE, Said.UNCERTAIN})


@dataclass(frozen=True, slots=True)
class Feedback:
    """`revision`: of the study, that the person saw. `subtype`: a key of FINDINGS, or empty. `change`: the row of the list
    before and after, where the saying changed it. `undone_at`: taken back by the same person.
    """

    id: int
    study_instance_uid: str
    revision: int
    by: str
    at: datetime
    said: Said
    subtype: str = ""
    text: str = ""
    change: Mapping[str, Any] | None = None
    undone_at: datetime | None = None

    def may_be_undone(self, by: str, now: datetime) -> bool:
        return self.undone_at is None and self.by == by and now - self.at < UNDO_FOR
