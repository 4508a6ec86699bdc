"""Requests to UPS-RS on a store with one study. An input: which operation, a line with UID or query, the body."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from tests.fuzz.asgi import asking
from tests.support.deciding import Site
from triage_node.domain.priority import ListPolicy
from triage_node.gateway.ups_rs import MEDIA, create_app
from triage_node.gateway.workitem_service import WorkitemService
from triage_node.store import workitems
from triage_node.workitems.follow import workitem_uid

LONGEST = 1 << 13
STUDY = "1.2.3"
ITEM = workitem_uid(STUDY, 1)
_PLACES = (
    ("GET", "/workitems?"),
    ("GET", "/workitems/"),
    ("POST", "/workitems?"),
    ("POST", "/workitems/"),
    ("PUT", "/workitems/{uid}/state"),
    ("POST", "/workitems/{uid}/cancelrequest"),
    ("POST", "/workitems/{uid}/subscribers/WATCH1"),
    ("DELETE", "/workitems/{uid}/subscribers/WATCH1"),
    ("POST", "/workitems/{uid}/subscribers/WATCH1/suspend"),
)


def seeds() -> Iterator[bytes]:
    state = {"00741000": {"vr": "CS", "Value": ["IN PROGRESS"]}, "00081195": {"vr": "UI", "Value": ["2.25.111"]}}
    change = {"00741200": {"vr": "CS", "Value": ["HIGH"]}, "00741204": {"vr": "LO", "Value": ["reading"]}}
    deep = {"0040A370": {"vr": "SQ", "Value": [{"0020000D": {"vr": "UI", "Value": [STUDY]}, "00080050": {"vr": "SH"}}]}}
    names = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "DOE^JANE", "Ideographic": "x"}]}}
    for body in (state, change, deep, names, [state | deep], {"00741000": {"vr": "CS", "Value": ["COMPLETED"]}}):
        for place in range(len(_PLACES)):
            yield bytes([place]) + ITEM.encode() + b"\n" + json.dumps(body).encode()
    for query in (
        "00741000=SCHEDULED&includefield=all&limit=3&offset=1",
        "ReferencedRequestSequence.StudyInstanceUID=1.2.3",
    ):
        yield b"\0" + query.encode() + b"\n"
    for filters in ("1.2.840.10008.5.1.4.34.5.1", "1.2.840.10008.5.1.4.34.5"):
        yield b"\6" + filters.encode() + b"?filter=ProcedureStepState=SCHEDULED&deletionlock=true\n"


def prepare(folder: Path) -> Callable[[bytes], None]:
    site = Site(folder)
    site.arrive(STUDY)
    service = WorkitemService(
        site.store, lambda: datetime.now(UTC), lambda row: row, ListPolicy().bounds, frozenset({"WATCH1"}), True
    )
    service.follow(always=True)
    app = create_app(
        service,
        partial(workitems.waiting_events, site.store),
        partial(workitems.event_taken, site.store),
        frozenset(),
        ("127.0.0.0/8",),
        ("127.0.0.1",),
        lambda: False,
    )
    ask = asking(app, "127.0.0.1")

    def check(data: bytes) -> None:
        line, _, body = data[1:].partition(b"\n")
        method, place = _PLACES[(data[0] if data else 0) % len(_PLACES)]
        text = line.decode("utf-8", "replace")
        uid, _, query = text.partition("?")
        target = place.format(uid=uid) + (f"?{query}" if query else "") if "{uid}" in place else place + text
        path, mark, query = target.partition("?")
        ask(method, unquote(path) + mark + query, body, {"content-type": MEDIA})

    return check
