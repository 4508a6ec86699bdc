"""What an archive says that it holds, as far as it takes to see what never reached this node. No patient is named in it."""

from __future__ import annotations

from dataclasses import dataclass

from triage_node.domain.errors import TriageNodeError


class SearchFailed(TriageNodeError):
    """The archive was not reached, refused, or answered what cannot be used."""


MOST_INSTANCES = 100_000
"""Of one series; more is no number of slices."""


def counted(text: str) -> int | None:
    """Number of Series Related Instances (IS), None where it is none that a series can have."""
    text = text.strip().removeprefix("+")
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        return None
    return int(text) if 0 < int(text) <= MOST_INSTANCES else None


@dataclass(frozen=True, slots=True)
class ArchivedStudy:
    """`modalities`: empty where the archive does not tell."""

    study_instance_uid: str
    description: str
    modalities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ArchivedSeries:
    modality: str
    body_part: str
    description: str
    station: str
