"""A small FHIR R4 server on the standard library's HTTP server: versions, If-Match, JSON Patch, transactions, search.

It keeps plain JSON and knows nothing of the node. Every write is checked for structure with fhir.resources' R4B classes.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fhir.resources.R4B import get_fhir_model_class

from tests.support.http_door import http_served
from tests.worklist.adapter_contract import KNOWN, READ_ALREADY
from triage_node.config.worklist_peers import FhirPeerSettings

SHORT_S = 0.6
LEVELS = {"": 0, "routine": 0, "urgent": 1, "asap": 1, "stat": 2}
Json = dict[str, Any]


class Refused(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class FhirServer:
    def __init__(self, scheme: str, raises: str) -> None:
        self.scheme, self.raises, self.port = scheme, raises, 0
        self.store: dict[str, list[Json]] = {}
        """"Type/id" -> its versions, oldest first."""
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.instead: Callable[[BaseHTTPRequestHandler, str, str], bool] = lambda *_: False
        """(request, verb, path) -> writes the answer itself; False: as ever."""
        self.loses: Callable[[str], bool] = lambda _: False
        """(verb) -> whether the request is carried out and its answer lost."""
        self.before: Callable[[str, str], None] = lambda *_: None
        self.awake, self.stopped, self.lock = threading.Event(), lambda: None, threading.RLock()
        self.awake.set()
        self.adapter: Any = None
        self.knows_parameters = True
        for n, (uid, status) in enumerate(((KNOWN, "active"), (READ_ALREADY, "completed")), start=1):
            self.add_study(str(n), uid, f"ACC{n}", status)

    def settings(self, **more: Any) -> FhirPeerSettings:
        url = f"{self.scheme}://127.0.0.1:{self.port}/fhir"
        return FhirPeerSettings(**({"name": "his", "url": url, "timeout_s": 30.0, "raises": self.raises} | more))

    def add_study(self, n: str, uid: str, accession: str, status: str = "active", imaging: bool = True) -> None:
        subject = {"reference": f"Patient/p{n}"}
        order = {
            "resourceType": "ServiceRequest",
            "id": f"o{n}",
            "status": status,
            "intent": "order",
            "subject": subject,
            "identifier": [{"system": "urn:site:accession", "value": accession}],
            "note": [{"text": "Größe, 頭部, and what else the server keeps"}],
        }
        if self.raises == "ServiceRequest":
            order["priority"] = "routine"
        self.put(order)
        task_status = {"active": "requested", "completed": "completed"}[status]
        task = {"resourceType": "Task", "id": f"t{n}", "status": task_status, "intent": "order", "priority": "routine"}
        self.put(task | {"focus": {"reference": f"ServiceRequest/o{n}"}, "for": subject})
        if imaging:
            study = {"resourceType": "ImagingStudy", "id": f"s{n}", "status": "available", "subject": subject}
            study["identifier"] = [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}]
            self.put(study | {"basedOn": [{"reference": f"ServiceRequest/o{n}"}]})

    # what is kept
    def now(self, reference: str) -> Json:
        return self.store[reference][-1]

    def put(self, resource: Json) -> Json:
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)
        reference = f"{resource['resourceType']}/{resource['id']}"
        versions = self.store.setdefault(reference, [])
        kept = deepcopy(resource)
        kept["meta"] = kept.get("meta", {}) | {"versionId": str(len(versions) + 1)}
        versions.append(kept)
        return kept

    def request_of(self, uid: str) -> str:
        n = {KNOWN: "1", READ_ALREADY: "2"}[uid]
        return f"ServiceRequest/o{n}" if self.raises == "ServiceRequest" else f"Task/t{n}"

    # the verbs of the contract suite
    def priority(self, study_instance_uid: str) -> int:
        return LEVELS[self.now(self.request_of(study_instance_uid)).get("priority", "")]

    def set_priority(self, study_instance_uid: str, priority: int) -> None:
        word = ("routine", "urgent", "stat")[priority]
        self.put(self.now(self.request_of(study_instance_uid)) | {"priority": word})

    def stop(self) -> None:
        self.stopped()

    def become_slow(self) -> None:
        self.adapter.timeout_s = SHORT_S
        self.awake.clear()

    # what it answers
    def search(self, kind: str, query: dict[str, list[str]]) -> Json:
        found = [v[-1] for k, v in sorted(self.store.items()) if k.startswith(f"{kind}/")]
        if self.knows_parameters:
            if token := query.get("identifier", [""])[0]:
                system, _, value = token.rpartition("|")
                found = [r for r in found if any(_fits(i, system, value) for i in r.get("identifier", []))]
            if focus := query.get("focus", [""])[0]:
                found = [r for r in found if r.get("focus", {}).get("reference") in focus.split(",")]
        return {
            "resourceType": "Bundle",
            "type": "searchset",
            "total": len(found),
            "entry": [{"resource": r} for r in found],
        }

    def change(self, reference: str, match: str | None, resource: Json) -> tuple[int, Json]:
        there = reference in self.store
        if match is not None and (not there or match != f'W/"{self.now(reference)["meta"]["versionId"]}"'):
            raise Refused(412)
        if f"{resource.get('resourceType')}/{resource.get('id')}" != reference:
            raise Refused(400)
        return (200 if there else 201), self.put({k: v for k, v in resource.items() if k != "meta" or "tag" in v})

    def patch(self, reference: str, match: str | None, steps: list[Json]) -> tuple[int, Json]:
        if reference not in self.store:
            raise Refused(404)
        resource = deepcopy(self.now(reference))
        for step in steps:
            key = step["path"].removeprefix("/")
            if step["op"] == "test" and resource.get(key) != step["value"]:
                raise Refused(409)
            if step["op"] == "add":
                resource[key] = step["value"]
            if step["op"] == "remove":
                del resource[key]
        return self.change(reference, match, resource)

    def transaction(self, bundle: Json) -> tuple[int, Json]:
        kept = {k: list(v) for k, v in self.store.items()}
        entries = []
        try:
            for entry in bundle["entry"]:
                asked = entry["request"]
                assert asked["method"] == "PUT"
                status, _ = self.change(asked["url"], asked.get("ifMatch"), entry["resource"])
                entries.append({"response": {"status": str(status)}})
        except Refused:
            self.store = kept
            raise
        return 200, {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}


def _fits(identifier: Json, system: str, value: str) -> bool:
    return identifier["value"] == value and system in ("", identifier.get("system"))


@contextmanager
def fhir_server(raises: str = "ServiceRequest", tls: ssl.SSLContext | None = None) -> Iterator[FhirServer]:
    fhir = FhirServer("http" if tls is None else "https", raises)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._do("GET")

        def do_POST(self) -> None:
            self._do("POST")

        def do_PATCH(self) -> None:
            self._do("PATCH")

        def _do(self, verb: str) -> None:
            parts = urlsplit(self.path)
            path = parts.path.removeprefix("/fhir").strip("/")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fhir.requests.append((verb, path, dict(self.headers)))
            fhir.awake.wait(60)
            fhir.before(verb, path)
            if fhir.instead(self, verb, path):
                return
            try:
                with fhir.lock:
                    status, resource = self._act(verb, path, parse_qs(parts.query), body)
            except Refused as refused:
                status, resource = refused.status, {"resourceType": "OperationOutcome"}
            if fhir.loses(verb):
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            answer(self, status, json.dumps(resource).encode(), resource.get("meta", {}).get("versionId", ""))

        def _act(self, verb: str, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, Json]:
            if verb == "POST":
                return fhir.transaction(json.loads(body))
            if verb == "PATCH":
                return fhir.patch(path, self.headers.get("If-Match"), json.loads(body))
            if "/" not in path:
                return 200, fhir.search(path, query)
            if path not in fhir.store:
                raise Refused(404)
            return 200, fhir.now(path)

        def log_message(self, *_: object) -> None:
            return None

    with http_served(Handler, tls) as (fhir.port, fhir.stopped):
        try:
            yield fhir
        finally:
            fhir.awake.set()


def answer(request: BaseHTTPRequestHandler, status: int, body: bytes = b"", version: str = "", **headers: str) -> bool:
    request.send_response(status)
    request.send_header("Content-Type", "application/fhir+json")
    request.send_header("Content-Length", str(len(body)))
    if version:
        request.send_header("ETag", f'W/"{version}"')
    for key, value in headers.items():
        request.send_header(key, value)
    request.end_headers()
    request.wfile.write(body)
    return True
