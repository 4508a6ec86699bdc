"""What a notification says: words, a link, and of the patient only what the site allows (STANDARDS.md 8.3).

No name, no picture, no number for the probability: a message may lie on a locked screen, and goes through other people's mail.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from triage_node.domain.priority import Flag
from triage_node.domain.study import StudyIdentity

_LONGEST = 64


@dataclass(frozen=True, slots=True)
class Notice:
    title: str
    body: str


def notice(
    flag: Flag, identity: StudyIdentity, identifiers: str, link: str, at: datetime, simulation: bool, why: str = ""
) -> Notice:
    """The words for one contact. `identifiers`: none, accession or patient. `at`: of the flag, in the site's zone.

    `why`: what makes this a further notice, empty in a first one.
    """
    lines = [f"{flag.words}.", f"Urgency: {flag.urgency.value}. Flagged {at:%Y-%m-%d %H:%M %Z}."]
    if why:
        lines.append(why)
    lines += who(identity, identifiers)
    if link:
        lines.append(link)
    if simulation:
        lines.append("SIMULATION: this is no real patient.")
    lines.append("Not for diagnostic use.")
    head = f"Flagged study, {flag.urgency.value}"
    return Notice(f"SIMULATION: {head}" if simulation else head, "\n".join(lines))


def who(identity: StudyIdentity, identifiers: str) -> list[str]:
    """The lines that name the study, as far as this contact may know."""
    lines = []
    if identifiers in ("accession", "patient") and (number := _plain(identity.accession_number)):
        lines.append(f"Accession number: {number}")
    if identifiers == "patient" and (patient := _plain(identity.patient_id)):
        lines.append(f"Patient ID: {patient}")
    return lines


def _plain(text: str) -> str:
    """Foreign text on one line: what could break out of it is left out."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * _LONGEST]).split())[:_LONGEST]
