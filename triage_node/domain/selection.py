"""What the selection lab answers of a folder: which series of each study would be read, why not the others, and what would be found.

Numbers and words only: no names, no identifiers of patients, no UIDs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from triage_node.domain.trial import Reading, TrialState


@dataclass(frozen=True, slots=True)
class SeriesTried:
    """One series. `why` it would be read, or why not; `of_reading`: what was found was found in it."""

    number: int | None
    description: str
    images: int
    is_read: bool
    why: str
    of_reading: bool = False


@dataclass(frozen=True, slots=True)
class StudyTried:
    """One study of the folder. `words`: the whole in one sentence; `reading` is None where nothing would be analysed.

    `is_flagged`: it would be raised; `slices` of the series that decides; `has_picture`: its key slice lies beside the answer;
    `is_simulated`: the images say so themselves.
    """

    words: str
    is_flagged: bool
    series: tuple[SeriesTried, ...]
    reading: Reading | None = None
    slices: int = 0
    has_picture: bool = False
    is_simulated: bool = False


@dataclass(frozen=True, slots=True)
class FolderAnswer:
    """`unread`: (why, how many files) of what is no image that the node could take. `left_out`: studies beyond the most."""

    files: int
    unread: tuple[tuple[str, int], ...]
    studies: tuple[StudyTried, ...]
    left_out: int = 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> FolderAnswer:
        """Raises: KeyError, TypeError when `stored` is none."""
        studies = tuple(
            StudyTried(
                **{
                    **study,
                    "series": tuple(SeriesTried(**s) for s in study["series"]),
                    "reading": Reading.from_json(study["reading"]) if study["reading"] is not None else None,
                }
            )
            for study in stored["studies"]
        )
        return cls(stored["files"], tuple((w, n) for w, n in stored["unread"]), studies, stored["left_out"])


@dataclass(frozen=True, slots=True)
class FolderTrial:
    """How far the judging of a folder has come."""

    state: TrialState
    asked_at: datetime
    reason: str = ""
    answer: FolderAnswer | None = None
