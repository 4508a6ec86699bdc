"""Words and foreign text as a page shows them."""

from __future__ import annotations

import unicodedata
from datetime import datetime, tzinfo

from triage_node.domain.durations import in_words
from triage_node.domain.finding import EvidenceLevel
from triage_node.domain.study import StudyState

NOT_FOR_DIAGNOSIS = "Not for diagnostic use."
SILENCE = "Silence in the PACS means nothing: a study without a flag may still bleed, and one not analysed may too."

_LONGEST = 64


def displayable(text: str, longest: int = _LONGEST) -> str:
    """Foreign text without control, format and direction marks, on one line, cut to `longest` characters.

    Escaping for HTML is the template's. What is taken out here could reorder or hide text that stands beside it.
    """
    kept = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text[: 4 * longest])
    kept = "".join(c for c in kept if unicodedata.category(c) not in ("Cf", "Cs", "Co", "Cn"))
    line = " ".join(kept.split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def state_shown(state: StudyState, shows_result: bool) -> StudyState:
    """One word for reported and delivered where no result may be seen: what is raised has more to send, and takes longer."""
    return StudyState.DELIVERED if state is StudyState.REPORTED and not shows_result else state


def person_name(text: str) -> str:
    """A DICOM person name (PS3.5 6.2.1) as "FAMILY, GIVEN MIDDLE": the first component group that says something."""
    for group in text.split("="):
        family, _, rest = group.partition("^")
        given = " ".join(part for part in rest.split("^")[:2] if part.strip())
        if family.strip() or given:
            return displayable(", ".join(part for part in (family.strip(), given) if part))
    return ""


def clock(at: datetime, now: datetime, zone: tzinfo) -> str:
    """Wall clock at the site; with the date when it is not today."""
    local = at.astimezone(zone)
    if local.date() == now.astimezone(zone).date():
        return local.strftime("%H:%M")
    return local.strftime("%d %b %H:%M") if abs((now - at).days) < 300 else local.strftime("%d %b %Y %H:%M")


def since(at: datetime, start: datetime) -> str:
    """Seconds after the start of a timeline, minutes once seconds say nothing any more."""
    seconds = (at - start).total_seconds()
    return f"+{seconds:.1f} s" if seconds < 600 else f"+{in_words(at - start)}"


def size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e6 else f"{max(size_bytes / 1e3, 1):.0f} kB"


def figure(value: float) -> str:
    """A number of a model with the digits that it can carry."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}"


def level_words(level: str) -> str:
    """An evidence level as a reader takes it in; what is not stated counts as simulated only."""
    try:
        stated = EvidenceLevel(level)
    except ValueError:
        stated = EvidenceLevel.E0
    return f"{stated.value}: {stated.in_words}"
