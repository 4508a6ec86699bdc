"""How the feeds stand: the scheduler's look at each sender, and the sentences that pages, API and `check` show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from triage_node.config.schema import Settings
from triage_node.console.texts import displayable
from triage_node.processes import running as process
from triage_node.processes.running import Running
from triage_node.store import feeds
from triage_node.store.engine import Store
from triage_node.study.silence import LEARNED_FROM, ONE_FALSE_ALARM_IN, OUT_OF_SERVICE_AFTER, Feed, judge

_RATE = f"A sender at work is reported about once in {ONE_FALSE_ALARM_IN // timedelta(days=1)} days at most"


@dataclass(frozen=True, slots=True)
class Missing:
    """Head CTs of the archive that this node does not have by now."""

    archive: str
    first: date
    last: date
    studies: int
    stations: tuple[tuple[str, str], ...]
    """(Study Instance UID, station)."""


def judged(store: Store, settings: Settings, at: datetime) -> list[Feed]:
    """Every sender of the last weeks, by name."""
    arrivals = feeds.arrivals(store, at - LEARNED_FROM - OUT_OF_SERVICE_AFTER)
    zone = ZoneInfo(settings.node.time_zone)
    return [judge(title, instants, at, zone) for title, instants in sorted(arrivals.items())]


def watch(running: Running, at: datetime | None = None) -> None:
    """Keep a sentence for each sender that is silent for too long; written only when they change."""
    at = at or process.now()
    zone = ZoneInfo(running.settings.node.time_zone)
    silent = {f.calling_ae_title: _silent(f, zone) for f in judged(running.store, running.settings, at) if f.is_alarm}
    held = feeds.said(running.store, feeds.SILENCE)
    if silent != held:
        with running.store.write() as c:
            feeds.say(c, feeds.SILENCE, silent)


def alarms(store: Store) -> tuple[str, ...]:
    """Sentences for the page: senders that are silent for too long, studies that never came, an archive not asked."""
    found = list(feeds.said(store, feeds.SILENCE).values())
    missing = never_arrived(store)
    if missing is not None and missing.stations:
        found.append(_missing_words(missing))
    if problem := reconciliation_problem(store):
        found.append(problem)
    return tuple(found)


def never_arrived(store: Store) -> Missing | None:
    """What the last reconciliation found, less what arrived since; None before the first."""
    said = feeds.said(store, feeds.RECONCILIATION)
    if "missing" not in said:
        return None
    known = feeds.known(store, (m["study_instance_uid"] for m in said["missing"]))
    return Missing(
        displayable(said["archive"]),
        date.fromisoformat(said["first"]),
        date.fromisoformat(said["last"]),
        int(said["studies"]),
        tuple(
            (m["study_instance_uid"], displayable(m["station"]) or "an unnamed station")
            for m in said["missing"]
            if m["study_instance_uid"] not in known
        ),
    )


def reconciliation_problem(store: Store) -> str:
    """Why the last try failed; empty when it did not."""
    said = feeds.said(store, feeds.RECONCILIATION)
    if not said.get("problem"):
        return ""
    name, why = displayable(said["archive"]), displayable(said["problem"], 200)
    return f"{name} could not be asked which head CTs never reached this node: {why}."


def as_json(store: Store, settings: Settings, at: datetime) -> dict[str, Any]:
    """For administrators, with Study Instance UIDs. Instants are ISO 8601 in UTC."""
    missing = never_arrived(store)
    return {
        "senders": [
            {
                "calling_ae_title": f.calling_ae_title,
                "last_study_at": f.last.isoformat(),
                "alarm_at": f.alarm_at.isoformat() if f.alarm_at is not None else None,
                "alarm": f.is_alarm,
                "no_pattern": f.unknown,
            }
            for f in judged(store, settings, at)
        ],
        "one_false_alarm_in_days": ONE_FALSE_ALARM_IN / timedelta(days=1),
        "problem": reconciliation_problem(store),
        "reconciliation": None
        if missing is None
        else {
            "archive": missing.archive,
            "first": missing.first.isoformat(),
            "last": missing.last.isoformat(),
            "ct_studies": missing.studies,
            "missing": [{"study_instance_uid": uid, "station": station} for uid, station in missing.stations],
        },
    }


def lines(store: Store, settings: Settings, at: datetime) -> Iterator[tuple[str, str]]:
    """(what was looked at, what is wrong with it or empty), for `check`."""
    zone = ZoneInfo(settings.node.time_zone)
    for f in judged(store, settings, at):
        last = f"feed {displayable(f.calling_ae_title)}: last study {_clock(f.last, zone)}"
        if f.unknown:
            yield f"{last}; {f.unknown}", ""
        elif f.alarm_at is None or at >= f.last + OUT_OF_SERVICE_AFTER:
            yield f"{last}; silent for longer than any alarm lasts", ""
        else:
            yield f"{last}; may be silent until {_clock(f.alarm_at, zone)}", _silent(f, zone) if f.is_alarm else ""
    if settings.reconciliation is None:
        yield "reconciliation: off; no archive is asked which head CTs never came", ""
        return
    missing = never_arrived(store)
    if missing is None:
        yield "reconciliation: not yet", reconciliation_problem(store)
        return
    what = f"reconciliation with {missing.archive}, {_days(missing)}: {missing.studies} CT studies there"
    uids = ", ".join(uid for uid, _ in missing.stations)
    yield what, f"{_missing_words(missing)} {uids}" if missing.stations else reconciliation_problem(store)


def _silent(feed: Feed, zone: tzinfo) -> str:
    return (
        f"{displayable(feed.calling_ae_title)} has sent no study since {_clock(feed.last, zone)}, longer than its own "
        f"pattern of {feed.days:.0f} days allows: does it still forward? ({_RATE}.)"
    )


def _missing_words(missing: Missing) -> str:
    count = len(missing.stations)
    by_station = Counter(station for _, station in missing.stations).most_common()
    where = ", ".join(f"{station} ({n})" for station, n in by_station[:5]) + (", ..." if len(by_station) > 5 else "")
    plural = "head CT" if count == 1 else "head CTs"
    return f"{count} {plural} of {_days(missing)} in {missing.archive} never reached this node: from {where}."


def _days(missing: Missing) -> str:
    if missing.first == missing.last:
        return f"{missing.last:%d %b}"
    return f"{missing.first:%d %b} to {missing.last:%d %b}"


def _clock(at: datetime, zone: tzinfo) -> str:
    return at.astimezone(zone).strftime("%d %b %H:%M")
