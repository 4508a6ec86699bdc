"""What an archive says that it holds, as far as it takes to see what never reached this node. No patient is named in it."""

from __future__ import annotations

from dataclasses import dataclass

from triage_node.domain.errors import TriageNodeError


class SearchFailed(TriageNodeError):
    """The archive was not reached, refused, or answered what cannot be used."""


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
