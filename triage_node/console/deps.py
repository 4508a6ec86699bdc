"""What the pages ask of the rest of the node: callables and the types that they return.

`processes/web.py` fills them from the store; tests fill them from lists. The callables may block: pages run in threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from starlette.requests import Request

from triage_node.console.security import Identify, known_of
from triage_node.domain.clinical import ClinicalEntry, ClinicalRevision
from triage_node.domain.delivery import BuiltObject
from triage_node.domain.errors import StatementConflict
from triage_node.domain.person import Person
from triage_node.domain.priority import ListPolicy, Mode, Placed, WorklistRow
from triage_node.domain.prognosis import Prediction
from triage_node.domain.study import SelectedSeries, StudyState, TimelineEntry


@dataclass(frozen=True, slots=True)
class About:
    """What names a study on a page, as far as the site allows, and where it is on its way.

    `label` is the largest name (patient or accession number), `description` the line below it.
    """

    label: str
    description: str
    state: StudyState
    live_words: str = ""
    revision: int = 0
    source: str = ""
    """The AE title that sent it."""
    accession_number: str = ""
    patient_id: str = ""


@dataclass(frozen=True, slots=True)
class ToldAt:
    """Names of the other worklists where a study is re-ordered, and what of those that should know and do not."""

    reordered: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToldPeer:
    """One message to another worklist. `words`: what became of it; `why`: in the words of the peer or of the try."""

    peer: str
    kind: str
    state: str
    words: str
    why: str
    held: str
    written: str
    tries: int
    at: datetime
    is_alarm: bool


@dataclass(frozen=True, slots=True)
class ReadingList:
    """The list at one instant. `version` was read before the rows, so a change in between shows as a newer version.

    `late` and `not_confirmed` stand apart from the order; `claimed` are studies that somebody reads now. `moved_from`
    maps a study to the place (0 is first) that it has without flags, for "would move". `told`: what other worklists were
    told of a study; `alarms`: a sentence for each that did not take it; `feed_alarms`: for studies that do not come.
    """

    version: int
    policy: ListPolicy
    placed: tuple[Placed, ...]
    about: Mapping[str, About]
    late: tuple[WorklistRow, ...] = ()
    not_confirmed: tuple[WorklistRow, ...] = ()
    claimed: frozenset[str] = frozenset()
    moved_from: Mapping[str, int] = field(default_factory=dict)
    told: Mapping[str, ToldAt] = field(default_factory=dict)
    alarms: tuple[str, ...] = ()
    feed_alarms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """One number of a result with all that it comes from (DESIGN.md invariant 7)."""

    name: str
    value: str
    model: str
    operating_point: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Delivery:
    peer: str
    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ToCorrect:
    """What lies at a peer and does not hold any more. `uid`: of the object or message; `why`: since when it is wrong.

    `carries`: the values that were corrected since, as far as the site lets a page show them; `done`: what the node did about it.
    """

    peer: str
    what: str
    uid: str
    at: datetime
    why: str
    carries: str
    done: str


@dataclass(frozen=True, slots=True)
class StudyDetails:
    """Everything the node knows about one study. `result_words` says in words what was found, or that nothing was."""

    study_instance_uid: str
    about: About
    reason: str
    arrived_at: datetime
    instances: int
    close_signal: str
    row: WorklistRow | None = None
    was_flagged: bool = False
    result_words: str = ""
    outputs: tuple[Output, ...] = ()
    predictions: tuple[Prediction, ...] = ()
    selection: SelectedSeries | None = None
    objects: tuple[tuple[BuiltObject, tuple[Delivery, ...]], ...] = ()
    sr_text: str = ""
    statements: tuple[tuple[ClinicalRevision, bool], ...] = ()
    """Clinical facts, oldest first, and whether they are about the patient whom the study belongs to now."""
    prognosis_behind: bool = False
    """Facts were stated that the prognosis does not take in yet."""
    apart: str = ""
    """Why the node only observes this study while it acts on others; empty when it does not."""
    told: tuple[ToldPeer, ...] = ()
    """Messages to other worklists, oldest first."""
    to_correct: tuple[ToCorrect, ...] = ()
    """What others hold under an identity, or from images, that do not hold any more."""
    facts_wanted: bool = True
    """False where it is not clear whose study it is."""


def _nothing_is_taken_in(uid: str, entry: ClinicalEntry, by: str, via: str, seen_revision: int) -> ClinicalRevision:
    raise StatementConflict("This node takes no clinical facts.")


def _who_was_let_in(request: Request) -> Person:
    known = known_of(request)
    if known is None:
        raise HTTPException(401, "Log in first.", headers={"WWW-Authenticate": "Bearer"})
    return known.person


@dataclass(frozen=True, slots=True)
class ConsoleDeps:
    """`reading_list(now, flags_count)`: with flags_count the order in which live flags count whatever the mode is.

    `required_roles` must have given a sign of life lately, else the pages say "not current since". `hosts` are the names
    under which the page may be asked for: it must not answer to a name that a foreign site chose. Without `identify` nobody logs
    in, and `person_of` alone says who asks: for tests of single pages.
    """

    reading_list: Callable[[datetime, bool], ReadingList]
    list_version: Callable[[], int]
    mode: Callable[[], Mode]
    study: Callable[[str], StudyDetails | None]
    timeline: Callable[[str], list[TimelineEntry] | None]
    object_file: Callable[[str], Path | None]
    heartbeats: Callable[[], Mapping[str, datetime]]
    simulation: bool
    required_roles: tuple[str, ...] = ("ingest", "analysis", "scheduler")
    would_move_for_readers: bool = False
    identify: Identify | None = None
    person_of: Callable[[Request], Person] = _who_was_let_in
    """Raises: HTTPException 401 where a page that is open to everybody is asked by nobody known."""
    is_tls: bool = False
    time_zone: tzinfo = UTC
    study_link: str = ""
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    node_alarms: Callable[[], tuple[str, ...]] = tuple
    """What the node cannot do now because of the machine or the database under it; a sentence each, for every page."""
    feeds: Callable[[], Mapping[str, Any]] = dict
    """How the senders stand and which head CTs of the archive never came, with UIDs: for administrators."""
    escalation: Callable[[], str] = lambda: ""
    """Whether studies that nobody opens are passed on to further contacts, and why not; empty where nobody is notified."""
    viewed: Callable[[str, str], None] = lambda study_instance_uid, viewer: None
    """Writes to the audit trail that somebody opened a study (DESIGN.md invariant 6)."""
    told: Callable[[str, str], None] = lambda study_instance_uid, asker: None
    """Writes that the API told somebody of a study; not `viewed`, since a program that asks each minute has opened nothing."""
    state_facts: Callable[[str, ClinicalEntry, str, str, int], ClinicalRevision] = _nothing_is_taken_in
    """Stores (study UID, facts, who, by which way, the revision that they had seen). Raises: StatementRefused, StatementConflict."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
