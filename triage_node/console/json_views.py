"""What the API says: the same as the pages, for machines. Positions count from 1, instants are ISO 8601 in UTC."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from triage_node.console.deps import ReadingList, StudyDetails, ToldAt
from triage_node.console.freshness import Staleness
from triage_node.console.texts import NOT_FOR_DIAGNOSIS, SILENCE, state_shown
from triage_node.domain.priority import Mode, WorklistRow
from triage_node.domain.study import TimelineEntry


def worklist(reading: ReadingList, now: datetime, simulation: bool, stale: Staleness | None) -> dict[str, Any]:
    return {
        "at": _instant(now),
        "version": reading.version,
        "mode": reading.policy.mode.value,
        "simulation": simulation,
        "notice": f"{NOT_FOR_DIAGNOSIS} {SILENCE}",
        "not_current": None if stale is None else {"since": _instant(stale.since), "why": stale.why},
        "rows": [
            {
                "position": placed.position + 1,
                "tier": placed.tier,
                "reason": placed.reason,
                "being_read": placed.row.study_instance_uid in reading.claimed,
                "position_without_flags": _moved_from(reading, placed.row),
                **_row(placed.row, reading),
            }
            for placed in reading.placed
        ],
        "alarms": list(reading.alarms),
        "feed_alarms": list(reading.feed_alarms),
        "late_flags": [_row(row, reading) for row in reading.late],
        "not_confirmed": [_row(row, reading) for row in reading.not_confirmed],
    }


def study(details: StudyDetails, mode: Mode, simulation: bool, shows_result: bool) -> dict[str, Any]:
    """`shows_result` is false for readers in observe mode: what was found is then left out, and what the state betrays of it."""
    found: dict[str, Any] = {}
    if shows_result:
        found = {
            "result": details.result_words,
            "outputs": [asdict(o) for o in details.outputs],
            "prognosis": [asdict(p) for p in details.predictions],
            "objects": [
                {
                    "kind": built.kind.value,
                    "sop_instance_uid": built.sop_instance_uid,
                    "sop_class_uid": built.sop_class_uid,
                    "series_instance_uid": built.series_instance_uid,
                    "revision": built.revision,
                    "size_bytes": built.size_bytes,
                    "deliveries": [asdict(d) for d in deliveries],
                }
                for built, deliveries in details.objects
            ],
            "messages": [asdict(m) | {"at": _instant(m.at)} for m in details.told],
            "to_correct": [asdict(t) | {"at": _instant(t.at)} for t in details.to_correct],
            "sr_text": details.sr_text,
        }
    selection = details.selection
    return {
        "study_instance_uid": details.study_instance_uid,
        "label": details.about.label,
        "description": details.about.description,
        "state": state_shown(details.about.state, shows_result).value,
        "reason": details.reason,
        "revision": details.about.revision,
        "arrived_at": _instant(details.arrived_at),
        "instances": details.instances,
        "close_signal": details.close_signal,
        "mode": mode.value,
        "simulation": simulation,
        "notice": f"{NOT_FOR_DIAGNOSIS} {SILENCE}",
        "selected_series": None
        if selection is None
        else {
            "series_instance_uid": selection.series_instance_uid,
            "reason": selection.reason,
            "rejected": [
                {"series_instance_uid": uid, "series_number": number, "reason": why}
                for uid, number, why in selection.rejected
            ],
        },
        **found,
    }


def timeline(entries: list[TimelineEntry]) -> list[dict[str, Any]]:
    return [{"at": _instant(e.at), "moment": e.moment, "detail": e.detail} for e in entries]


def _row(row: WorklistRow, reading: ReadingList) -> dict[str, Any]:
    about = reading.about[row.study_instance_uid]
    flag, told = row.flag, reading.told.get(row.study_instance_uid, ToldAt())
    return {
        "study_instance_uid": row.study_instance_uid,
        "label": about.label,
        "description": about.description,
        "order_class": row.order_class.value,
        "arrived_at": _instant(row.arrived_at),
        "bound_at": _instant(row.arrived_at + reading.policy.bounds[row.order_class]),
        "flag": None
        if flag is None
        else {
            "finding": flag.finding,
            "urgency": flag.urgency.value,
            "words": flag.words,
            "raised_at": _instant(flag.raised_at),
        },
        "not_sure": row.unsure and flag is None,
        "live": row.live,
        "pinned_at": _instant(row.pinned_at),
        "reading_state": row.reading_state.value,
        "study_state": state_shown(about.state, reading.policy.mode is Mode.ACTIVE and not row.apart).value,
        "status": row.status_words,
        "reordered_at": list(told.reordered),
        "not_told": list(told.failed),
        "revision": about.revision,
    }


def _moved_from(reading: ReadingList, row: WorklistRow) -> int | None:
    position = reading.moved_from.get(row.study_instance_uid)
    return None if position is None else position + 1


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
