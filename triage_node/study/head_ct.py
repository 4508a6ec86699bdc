"""Is a study of an archive a head CT? Decided on what a query tells: no image is there to look at."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from triage_node.domain.archived import ArchivedSeries, ArchivedStudy

MAXIMUM_TEXT = 256


def head_series(
    study: ArchivedStudy, series: Sequence[ArchivedSeries], body_parts: Sequence[str], descriptions: Sequence[str]
) -> ArchivedSeries | None:
    """The first CT series that is a head by body part or description (shell patterns, case-insensitive), or None."""
    by_study = _matches(descriptions, study.description)
    for s in series:
        is_head = by_study or _matches(body_parts, s.body_part) or _matches(descriptions, s.description)
        if s.modality == "CT" and is_head:
            return s
    return None


def _matches(patterns: Sequence[str], text: str) -> bool:
    text = text.strip()[:MAXIMUM_TEXT].lower()
    return any(fnmatchcase(text, p.lower()) for p in patterns)
