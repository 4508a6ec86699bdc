"""A small UPS-RS manager on the standard library's HTTP server, whose every answer a test may replace (PS3.18 section 11)."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.http_door import http_served
from tests.worklist.ups_items import SHORT_S, HeldItems, Item, first_items
from triage_node.config.worklist_peers import UpsRsPeerSettings
from triage_node.worklist.ups_rs import UpsRsAdapter

JSON = "application/dicom+json"


class HttpManager(HeldItems):
    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.port = 0
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        """(verb and path, what came as Authorization, ...) of each request, in order."""
        self.instead: dict[str, Callable[[BaseHTTPRequestHandler], bool]] = {}
        """Verb (search, retrieve, update, create) -> writes the answer itself; False: as ever."""
        self.stopped: Callable[[], None] = lambda: None
        self.runs = True
        self.adapter: UpsRsAdapter | None = None
        self.awake = threading.Event()
        self.reset()

    def reset(self, *items: Item) -> None:
        self.items = {i.uid: i for i in (items or first_items())}
        self.requests.clear()
        self.instead.clear()
        self.knows_keys = True
        self.results = 1
        self.awake.set()

    def settings(self, **more: Any) -> UpsRsPeerSettings:
        url = f"{self.scheme}://127.0.0.1:{self.port}/dicom-web"
        return UpsRsPeerSettings(**({"name": "ris", "url": url, "timeout_s": 30.0} | more))

    def make(self, **more: Any) -> UpsRsAdapter:
        self.adapter = UpsRsAdapter(self.settings(**more))
        return self.adapter

    # the verbs of the contract suite
    def become_slow(self) -> None:
        assert self.adapter is not None
        self.adapter.timeout_s = SHORT_S
        self.awake.clear()

    # what it answers: (status, data sets)
    def search(self, query: dict[str, list[str]]) -> tuple[int, list[Any]]:
        def asked(keyword: str) -> str:
            return query.get(f"ReferencedRequestSequence.{keyword}", [""])[0]

        found = [
            _model(i)
            for i in self.items.values()
            if not self.knows_keys
            or (asked("StudyInstanceUID") in ("", i.study) and asked("AccessionNumber") in ("", i.accession))
        ] * self.results
        return (200, found) if found else (204, [])

    def retrieve(self, uid: str) -> tuple[int, list[Any]]:
        return (200, [_model(self.items[uid])]) if uid in self.items else (404, [])

    def update(self, uid: str, given: dict[str, Any]) -> tuple[int, list[Any]]:
        item = self.items.get(uid)
        if item is None:
            return 404, []
        if item.state != "SCHEDULED":
            return 409, []
        item.priority = _value(given, "00741200")
        return 200, []

    def create(self, uid: str, given: dict[str, Any]) -> tuple[int, list[Any]]:
        if uid in self.items:
            return 409, []
        if _value(given, "00741000") != "SCHEDULED":
            return 400, []
        request, kind = _value(given, "0040A370"), _value(given, "00404018")
        groups = _value(given, "00100010") or {}
        name = "=".join(groups.get(g, "") for g in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")
        created = {"PatientName": name, "PatientID": _value(given, "00100020")}
        study, accession = _value(request, "0020000D"), _value(request, "00080050")
        code, priority = _value(kind, "00080100"), _value(given, "00741200")
        self.items[uid] = Item(uid, study, accession, priority=priority, code=code, created=created)
        return 201, []


@contextmanager
def http_manager(tls: ssl.SSLContext | None = None) -> Iterator[HttpManager]:
    manager = HttpManager("http" if tls is None else "https")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            uid = parts.path.removeprefix("/dicom-web/workitems").strip("/")
            if uid:
                self._do("retrieve", lambda: manager.retrieve(uid))
            else:
                self._do("search", lambda: manager.search(parse_qs(parts.query)))

        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            (given,) = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            uid = parts.path.removeprefix("/dicom-web/workitems").strip("/")
            if uid:
                self._do("update", lambda: manager.update(uid, given))
            else:
                self._do("create", lambda: manager.create(parts.query, given))

        def _do(self, verb: str, act: Callable[[], tuple[int, list[Any]]]) -> None:
            manager.requests.append((verb, self.path, dict(self.headers)))
            manager.awake.wait(60)
            if verb in manager.instead and manager.instead[verb](self):
                return
            status, models = act()
            answer(self, status, json.dumps(models).encode() if models else b"")

        def log_message(self, *_: object) -> None:
            return None

    with http_served(Handler, tls) as (manager.port, manager.stopped):
        try:
            yield manager
        finally:
            manager.awake.set()


def answer(request: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> bool:
    request.send_response(status)
    request.send_header("Content-Type", JSON)
    request.send_header("Content-Length", str(len(body)))
    for key, value in headers.items():
        request.send_header(key, value)
    request.end_headers()
    request.wfile.write(body)
    return True


def _model(item: Item) -> dict[str, Any]:
    """The DICOM JSON model of a workitem, written by hand (PS3.18 F.2)."""
    request = {"0020000D": _text("UI", item.study), "00080050": _text("SH", item.accession)}
    kind = {"00080100": _text("SH", item.code), "00080102": _text("SH", "DCM"), "00080104": _text("LO", "Some work")}
    return {
        "00080018": _text("UI", item.uid),
        "00404018": {"vr": "SQ", "Value": [kind] if item.code else []},
        "0040A370": {"vr": "SQ", "Value": [request]},
        "00741000": _text("CS", item.state),
        "00741200": _text("CS", item.priority),
    }


def _text(vr: str, value: str) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]} if value else {"vr": vr}


def _value(model: dict[str, Any], tag: str) -> Any:
    values = model.get(tag, {}).get("Value") or [""]
    return values[0]
