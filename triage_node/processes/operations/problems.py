"""What is wrong, in words with what to do, urgent things first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from triage_node.config.schema import Settings
from triage_node.console.freshness import SILENT_AFTER
from triage_node.console.operations_deps import Heart, Peer, Problem, ScannerDrift, Stage
from triage_node.console.texts import displayable
from triage_node.domain.durations import in_words
from triage_node.domain.study import StudyState
from triage_node.processes.limits.bounds import Late
from triage_node.store.refused_models import Refused

if TYPE_CHECKING:
    from triage_node.processes.operations.standing import Facts

ROLES = ("ingest", "analysis", "delivery", "scheduler")
STORE = "store"
"""Kind of the peer that holds the images for all hosts."""
LONGEST_WAIT = timedelta(minutes=5)
"""A study that waits for analysis for longer is late, whatever the percentiles say."""
LONGEST_DELIVERY = timedelta(minutes=15)
_EFFECT = {
    "ingest": "nothing is received",
    "analysis": "nothing is flagged",
    "delivery": "nothing is sent to archives, lists and people",
    "scheduler": "arriving studies are not closed, and nobody further is notified",
    "web": "the pages do not answer",
    "gateway": "orders and claims of others are not heard",
}


def found(
    facts: Facts, settings: Settings, heart: Heart, scanners: Sequence[ScannerDrift], feed_alarms: Sequence[str]
) -> tuple[Problem, ...]:
    every = [
        *of_roles(facts.roles, (*ROLES, *(("gateway",) if settings.gateway.is_on else ())), facts.at),
        *facts.machine,
        *_late(facts),
        *_waiting(facts),
        *of_refused(facts.refused),
        *_heart(heart),
        *(_slow(s) for s in facts.stages if s.is_slow),
        *_parked(facts),
        *(p for peer in facts.peers for p in _peer(peer, facts.at)),
        *(Problem(m.problem[:1].upper() + m.problem[1:] + ".", "Restart the node, or put the model back that was evaluated.") for m in facts.models if m.problem and m.digest),
        *(Problem(words, "Ask whoever runs the sender or the archive; `triage-node check` shows more.") for words in feed_alarms),
        *(p for scanner in scanners for p in _drift(scanner)),
    ]  # fmt: skip
    return tuple(sorted(every, key=lambda p: not p.is_urgent))


def why_not_ready(roles: dict[str, datetime], machine: Iterable[Problem], at: datetime) -> str:
    """Why the node does not take studies and work on them now; empty when it does."""
    silent = [role for role in ROLES if role not in roles or at - roles[role] > SILENT_AFTER]
    if silent:
        return f"no sign of life from: {', '.join(silent)}"
    return next((p.what for p in machine if p.is_urgent), "")


def of_roles(beats: Mapping[str, datetime], roles: Sequence[str], at: datetime) -> Iterator[Problem]:
    """Those of `roles` that gave no sign of life lately. `beats`: when each gave its last."""
    for role in roles:
        seen = beats.get(role)
        if seen is None or at - seen > SILENT_AFTER:
            since = "never started" if seen is None else f"has been silent for {in_words(at - seen)}"
            yield Problem(
                f"The {role} process {since}: {_EFFECT[role]}.",
                "See the node's log and restart the service (`systemctl restart triage-node`); deploy/DOWNTIME.md says who does what.",
                is_urgent=True,
            )


def of_late(late: Sequence[Late], at: datetime) -> Problem | None:
    """Studies that are beyond the bound that `check` states."""
    if not late:
        return None
    count, longest = len(late), max(at - found.since for found in late)
    plural = "study has" if count == 1 else "studies have"
    return Problem(
        f"{count} {plural} been on the way for longer than this node promises, one for {in_words(longest)}.",
        "Look at them yourself: the list names each. The node's log says on what it works; `triage-node check` states the bounds.",
        is_urgent=True,
    )


def of_refused(refused: Iterable[Refused]) -> Iterator[Problem]:
    """Changes of the model that did not take place."""
    for r in refused:
        yield Problem(
            f"{displayable(r.host)} goes on with its former model, since the one in its configuration was refused: {displayable(r.why, 400)}.",
            "Mend that, or name the former model in [model] again; then reload (`systemctl reload triage-node`). Do not restart "
            "before: a node starts with the model that its configuration names, and with no other.",
        )


def _late(facts: Facts) -> Iterator[Problem]:
    if (problem := of_late(facts.late, facts.at)) is not None:
        yield problem


def _waiting(facts: Facts) -> Iterator[Problem]:
    complete = facts.states.get(StudyState.COMPLETE)
    if complete is not None and complete.since is not None and facts.at - complete.since > LONGEST_WAIT:
        yield Problem(
            f"{complete.count} {'study waits' if complete.count == 1 else 'studies wait'} for analysis, the oldest for "
            f"{in_words(facts.at - complete.since)}.",
            "If the queue does not shrink, is the analysis process stuck or the machine too slow? Its log says on what it works.",
            is_urgent=True,
        )
    failed = facts.states.get(StudyState.FAILED)
    if failed is not None and failed.count:
        plural = "study has" if failed.count == 1 else "studies have"
        yield Problem(
            f"{failed.count} {plural} failed and not been analysed.", "The reading list shows each with its reason."
        )


def _heart(heart: Heart) -> Iterator[Problem]:
    if not heart.is_overdue or heart.every is None:
        return
    last = next((b for b in heart.beats if b.passed is False), None)
    why = f" The last one failed: {last.words}." if last is not None and last.words else ""
    yield Problem(
        f"No heartbeat has come through for more than {in_words(2 * heart.every)}: a bleed may not be flagged either.{why}",
        "Read the list in its plain order until this is solved; deploy/DOWNTIME.md says who does what.",
        is_urgent=True,
    )


def _slow(stage: Stage) -> Problem:
    return Problem(
        f"{stage.name}: 5 % of the last hour's studies took longer than {stage.p95_s:.0f} s (alarm above {stage.bound_s:.0f} s).",
        "Is the machine busy with something else, or do more studies come than before?",
    )


def _parked(facts: Facts) -> Iterator[Problem]:
    count = len(facts.parked)
    if count:
        what = "One delivery was" if count == 1 else f"{count} deliveries were"
        yield Problem(f"{what} refused for good.", "See below why, mend it at the peer, then try again.")


def _peer(peer: Peer, at: datetime) -> Iterator[Problem]:
    late = peer.since is not None and at - peer.since > LONGEST_DELIVERY
    if not peer.is_failing and not late:
        return
    since = f"for {in_words(at - peer.since)}" if peer.since is not None else ""
    waits = (
        f"; {peer.waiting} {'delivery waits' if peer.waiting == 1 else 'deliveries wait'} {since}".rstrip()
        if peer.waiting
        else ""
    )
    why = f": {displayable(peer.last_failure, 160)}" if peer.last_failure else ""
    name = displayable(peer.name.lstrip("*"))
    if peer.kind == STORE:
        words = waits.replace("deliveries wait", "images wait").replace("delivery waits", "image waits")
        yield Problem(
            f"The {name} does not take or give what it is asked for{why}{words}.",
            "Nothing is lost: images stay where they were received and go up when it answers. Until then studies may be flagged, "
            "but no report leaves. `triage-node check` asks it again; store.blob_url and its credentials name it.",
            is_urgent=True,
        )
        return
    yield Problem(
        f"{name} {'does not take what it is sent' if peer.is_failing else 'gets nothing'}{why}{waits}.",
        "Nothing is lost: the node tries until it is back. Is it running, and does it know this node's AE title and address?",
        is_urgent=late,
    )


def _drift(scanner: ScannerDrift) -> Iterator[Problem]:
    for chart in scanner.charts:
        if chart.is_alarm and chart.latest is not None and chart.usual is not None:
            yield Problem(
                f"{displayable(scanner.scanner)}: the {chart.name} has changed, lately {chart.latest:.3g} {chart.unit}".rstrip()
                + f", before {chart.usual:.3g} {chart.unit}".rstrip() + ".",
                "Ask the radiographers what changed (protocol, kernel, software, patients). If it stays, evaluate the model again "
                "on this scanner, then accept it as its new measure below.",
            )  # fmt: skip
