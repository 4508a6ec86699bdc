"""People who are notified of flagged studies, and whom to ask next when nobody opens one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from triage_node.config.section import Section


class ContactSettings(Section):
    """One way to a person or a team: e-mail, webhook, chat."""

    name: str = Field(min_length=1, max_length=64, description="Name on pages and in the audit trail.")
    url_file: Path = Field(
        description="File with one apprise URL, such as mailtos://... or json://...; it holds secrets, so it is no setting."
    )
    identifiers: Literal["none", "accession", "patient"] = Field(
        "none",
        description="What names the study, beside the viewer link: nothing, accession number, or patient ID too. Never a name.",
    )
    order: int = Field(
        1, ge=1, le=99, description="The lowest is notified first, the next ones when nobody opens the study."
    )
    timeout_s: float = Field(20.0, gt=0, le=300, description="For one notification, whatever the service does.")


class EscalationSettings(Section):
    """A flagged study that nobody opens goes to the contacts of the next order."""

    after_min: float = Field(15.0, gt=0, description="Unopened for so long after the last notice.")
    read_here: bool = Field(
        False, description="Studies are read on this node's page, so that what was not opened here was not read."
    )
    feed_within_days: float = Field(
        3.0,
        gt=0,
        le=30,
        description="Else escalation is on only while a report or another worklist told of a reading within this time.",
    )
