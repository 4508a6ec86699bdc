"""UPS-RS: the workitems over HTTP, their events over WebSocket. Source: PS3.18 section 11, events section 8.10.

Same service, same rules and same statuses as over DIMSE; `HTTP_CODES` turns a status into a code, its words go into the Warning
header as PS3.18 asks. Whoever asks must come from a configured address and, where one is configured, bring the bearer token;
names of the host are checked against rebinding, and what a browser sends on behalf of another site (an Origin that is not ours)
is refused.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from triage_node.domain.errors import StoreError
from triage_node.domain.identifiers import is_uid
from triage_node.domain.workitem import FILTERED_SUBSCRIPTION, Json, QueuedEvent
from triage_node.gateway.workitem_service import Caller, WorkitemService
from triage_node.workitems.dataset import UPS_PUSH
from triage_node.workitems.plain import BadDataSet, from_json, new_element, to_json
from triage_node.workitems.status import WORDS, Status

BODY_BYTES = 1 << 20
MEDIA = "application/dicom+json"
LIMIT = 1000
_EVENT_POLL_S = 0.2
_EVENT_BATCH = 50
_TAKEN_MEDIA = (MEDIA, "application/json")
HTTP_CODES = {
    Status.SUCCESS: 200,
    Status.DUPLICATE: 409,
    Status.NOT_AUTHORIZED: 403,
    Status.RESOURCE_LIMITATION: 413,
    Status.OUT_OF_RESOURCES: 413,
    Status.PROCESSING_FAILURE: 503,
    Status.NO_SUCH_WORKITEM: 404,
    Status.UNKNOWN_RECEIVING_AE: 403,
    Status.MAY_NO_LONGER_BE_UPDATED: 409,
    Status.ALREADY_IN_PROGRESS: 409,
    Status.FINAL_REQUIREMENTS_NOT_MET: 409,
    Status.NOT_YET_IN_PROGRESS: 409,
    Status.ALREADY_COMPLETED: 409,
    Status.PERFORMER_NOT_REACHABLE: 409,
}
"""Failures that are not named here are errors of the request: 400. Source: PS3.18 tables 11.4.3-1 to 11.12.3-1."""
_CODES_OF_UPDATE = HTTP_CODES | {Status.MAY_NO_LONGER_BE_UPDATED: 400}
"""An update alone counts an item that ended among the errors of the request (table 11.6.3-1)."""

log = logging.getLogger(__name__)


def create_app(
    service: WorkitemService,
    waiting: Callable[[str, int], Sequence[QueuedEvent]],
    taken: Callable[[int], None],
    listeners: frozenset[str],
    addresses: Sequence[str],
    hosts: Sequence[str],
    stopping: Callable[[], bool],
    token: str = "",
) -> ASGIApp:
    """`waiting(ae_title, limit)` and `taken(event id)`: the event queue. `listeners`: AE titles that come by WebSocket.

    `hosts`: names under which we may be asked, "*" for any. `token`: empty for none.
    """
    app = FastAPI(title="Triage Node UPS-RS", docs_url=None, redoc_url=None, openapi_url=None)

    def answer(request: Request, status: Status, done: int = 200, codes: Mapping[Status, int] = HTTP_CODES) -> Response:
        code = done if not status.is_failure else codes.get(status, 400)
        headers = {"Warning": f"299 {request.base_url}: {WORDS[status]}"} if WORDS[status] else {}
        return Response(status_code=code, headers=headers)

    async def guarded(
        request: Request,
        work: Callable[[], Status | Response],
        done: int = 200,
        codes: Mapping[Status, int] = HTTP_CODES,
    ) -> Response:
        try:
            found = await run_in_threadpool(work)
        except BadDataSet as error:
            return Response(status_code=400, headers={"Warning": f"299 {request.base_url}: {error}"})
        except StoreError:
            log.exception("request of %s", _caller(request).name)
            found = Status.PROCESSING_FAILURE
        return found if isinstance(found, Response) else answer(request, found, done, codes)

    @app.get("/workitems")
    async def search(request: Request) -> Response:
        def work() -> Status | Response:
            keys, limit, offset = _keys(request.query_params.multi_items())
            status, found = service.find(keys)
            if status is not Status.SUCCESS:
                return status
            part = found[offset : offset + limit]
            if not part:
                return Response(status_code=204)
            headers = {}
            if offset + limit < len(found):
                headers["Warning"] = f"299 {request.base_url}: There are more results; ask with offset."
            return _json([to_json(d) for d in part], headers)

        return await guarded(request, work)

    @app.get("/workitems/{uid}")
    async def retrieve(uid: str, request: Request) -> Response:
        def work() -> Status | Response:
            found = service.get(uid, _caller(request))
            return Status.NO_SUCH_WORKITEM if found is None else _json([to_json(found)])

        return await guarded(request, work)

    @app.post("/workitems")
    async def create(request: Request) -> Response:
        body, problem = await _body(request)
        if problem is not None:
            return problem
        # PS3.18 11.4: the UID stands in the query, as a name without a value, or in the data set

        def work() -> Status:
            data = _one(body)
            return service.create(_named_uid(request, "workitem") or str(data.get("SOPInstanceUID") or ""), data)

        return await guarded(request, work, 201)

    @app.post("/workitems/{uid}")
    async def update(uid: str, request: Request) -> Response:
        body, problem = await _body(request)
        if problem is not None:
            return problem

        def work() -> Status:
            data = _one(body)
            given = _named_uid(request, "transaction-uid") or str(data.get("TransactionUID") or "")
            return service.update(uid, data, given, _caller(request))

        return await guarded(request, work, codes=_CODES_OF_UPDATE)

    @app.put("/workitems/{uid}/state")
    async def change_state(uid: str, request: Request) -> Response:
        body, problem = await _body(request)
        if problem is not None:
            return problem

        def work() -> Status:
            data = _one(body)
            asked, given = str(data.get("ProcedureStepState") or ""), str(data.get("TransactionUID") or "")
            return service.change_state(uid, asked, given, _caller(request))

        return await guarded(request, work)

    @app.post("/workitems/{uid}/cancelrequest")
    async def request_cancel(uid: str, request: Request) -> Response:
        body, problem = await _body(request, may_be_empty=True)
        if problem is not None:
            return problem
        return await guarded(
            request, lambda: service.request_cancel(uid, _one(body) if body else Dataset(), _caller(request)), 202
        )

    @app.post("/workitems/{uid}/subscribers/{ae_title}")
    async def subscribe(uid: str, ae_title: str, request: Request) -> Response:
        lock = request.query_params.get("deletionlock", "false").lower() == "true"

        def work() -> Status | Response:
            keys = _filter(request.query_params.getlist("filter")) if uid == FILTERED_SUBSCRIPTION else None
            status = service.subscribe(uid, ae_title, lock, keys, _caller(request))
            if status is not Status.SUCCESS:
                return status
            scheme = "wss" if request.url.scheme == "https" else "ws"
            path = f"/ws/subscribers/{quote(ae_title)}"
            where = str(request.url.replace(scheme=scheme, path=path, query="", fragment=""))
            return Response(status_code=201, headers={"Content-Location": where})

        return await guarded(request, work, 201)

    @app.delete("/workitems/{uid}/subscribers/{ae_title}")
    async def unsubscribe(uid: str, ae_title: str, request: Request) -> Response:
        return await guarded(request, lambda: service.unsubscribe(uid, ae_title, _caller(request)))

    @app.post("/workitems/{uid}/subscribers/{ae_title}/suspend")
    async def suspend(uid: str, ae_title: str, request: Request) -> Response:
        return await guarded(request, lambda: service.suspend(uid, ae_title, _caller(request)))

    @app.websocket("/ws/subscribers/{ae_title}")
    async def events(socket: WebSocket, ae_title: str) -> None:
        if ae_title not in listeners:
            await socket.close(1008)
            return
        await socket.accept()
        gone = asyncio.create_task(_until_gone(socket))
        try:
            while not stopping() and not gone.done():
                held = await run_in_threadpool(waiting, ae_title, _EVENT_BATCH)
                for number, event in enumerate(held, 1):
                    await socket.send_text(json.dumps(_event(event, number)))
                    await run_in_threadpool(taken, event.id)
                if not held:
                    await asyncio.wait([gone], timeout=_EVENT_POLL_S)
            if not gone.done():
                await socket.close(1001)
        except (WebSocketDisconnect, RuntimeError):
            log.info("subscriber=%s went; its events wait", ae_title)
        except StoreError:
            log.exception("subscriber=%s", ae_title)
            await socket.close(1011)
        finally:
            gone.cancel()

    return _Admission(app, addresses, hosts, token)


class _Admission:
    """Who may ask at all: by address, by the name that we are called, by token, and never a page of another site."""

    def __init__(self, app: ASGIApp, addresses: Sequence[str], hosts: Sequence[str], token: str) -> None:
        self._app = app
        self._token = f"Bearer {token}".encode("ascii") if token else b""
        self._networks = [ipaddress.ip_network(a, strict=False) for a in addresses]
        self._hosts = None if "*" in hosts else {h.lower() for h in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        is_known = self._admits(scope)
        if is_known and self._knows_token(scope):
            await self._app(scope, receive, send)
            return
        log.warning("refused %s %s", scope.get("client"), scope.get("path", "")[:200])
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif is_known:
            await Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})(scope, receive, send)
        else:
            await Response(status_code=403)(scope, receive, send)

    def _knows_token(self, scope: Scope) -> bool:
        given = next((v for k, v in scope["headers"] if k.lower() == b"authorization"), b"")
        return not self._token or hmac.compare_digest(given, self._token)

    def _admits(self, scope: Scope) -> bool:
        headers = {k.lower(): v.decode("latin-1") for k, v in scope["headers"]}
        host = headers.get(b"host", "").lower()
        name = host if host.endswith("]") else host.rsplit(":", 1)[0] if ":" in host else host
        if self._hosts is not None and name not in self._hosts:
            return False
        origin = headers.get(b"origin")
        if origin is not None and origin.split("://", 1)[-1].lower() != host:
            return False
        client = scope.get("client")
        try:
            address = ipaddress.ip_address(client[0] if client else "")
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


def _caller(request: Request) -> Caller:
    return Caller(f"UPS-RS at {request.client.host if request.client else 'an unknown address'}", "")


async def _body(request: Request, may_be_empty: bool = False) -> tuple[bytes, Response | None]:
    """The body, or the answer to one that is not taken. A giant one is not read to its end."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() not in _TAKEN_MEDIA:
        if not (may_be_empty and request.headers.get("content-length", "0") == "0"):
            return b"", Response(status_code=415)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES:
            return b"", Response(status_code=413)
    return bytes(body), None


def _one(body: bytes) -> Dataset:
    """A body holds one data set, plain or as an array of one. Raises: BadDataSet."""
    try:
        model = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadDataSet("the body is no JSON") from error
    if isinstance(model, list):
        if len(model) != 1:
            raise BadDataSet("the body holds one data set")
        model = model[0]
    return from_json(model)


def _named_uid(request: Request, name: str) -> str:
    """`?name=1.2.3` or, as PS3.18 writes it, `?1.2.3`."""
    for key, value in request.query_params.multi_items():
        if key == name:
            return value
        if not value and is_uid(key):
            return key
    return ""


def _keys(parameters: Sequence[tuple[str, str]]) -> tuple[Dataset, int, int]:
    """Query parameters as C-FIND keys, limit and offset (PS3.18 8.3.4). Raises: BadDataSet."""
    keys, limit, offset = _all_attributes(), LIMIT, 0
    for name, value in parameters:
        if name in ("limit", "offset"):
            if not (value.isascii() and value.isdigit()) or len(value) > 9:
                raise BadDataSet(f"{name} is no number")
            limit, offset = (min(int(value), LIMIT), offset) if name == "limit" else (limit, int(value))
        elif name == "fuzzymatching":
            continue  # not supported, which PS3.18 lets a server ignore
        elif name == "includefield":
            for field in value.split(","):
                if field == "all":
                    keys.add(new_element(0x00404021, "SQ", Items()))
                else:
                    _set(keys, field, "")
        else:
            _set(keys, name, value)
    return keys, limit, offset


def _filter(filters: Sequence[str]) -> Dataset:
    """`filter=keyword=value,keyword=value`, as PS3.18 11.10 has it. Raises: BadDataSet."""
    keys = Dataset()
    for pair in ",".join(filters).split(","):
        name, _, value = pair.partition("=")
        if name:
            _set(keys, name, value)
    return keys


def _set(keys: Dataset, path: str, value: str) -> None:
    """One attribute by keyword or tag, or a path through sequences. Raises: BadDataSet."""
    *sequences, last = path.split(".")
    if len(sequences) > 3 or len(value) > 1024:
        raise BadDataSet("a query parameter is too long")
    held = keys
    for name in sequences:
        tag, vr = _attribute(name)
        if vr != "SQ":
            raise BadDataSet(f"{name[:64]} is no sequence")
        element = held.get(tag)
        if element is None or not element.value:
            held.add(new_element(tag, "SQ", Items([Dataset()])))
        held = held[tag].value[0]
    tag, vr = _attribute(last)
    if vr == "SQ":
        if tag not in held:
            held.add(new_element(tag, vr, Items()))
        return
    values = value.replace("\\", ",").split(",") if vr == "UI" else [value]
    held.update(from_json({f"{tag:08X}": {"vr": vr, "Value": [v for v in values if v]}}))


def _attribute(name: str) -> tuple[int, str]:
    tag = tag_for_keyword(name)
    if tag is None and len(name) == 8 and all(c in "0123456789abcdefABCDEF" for c in name):
        tag = int(name, 16)
    try:
        if tag is None:
            raise KeyError(name)
        return int(tag), dictionary_VR(tag)
    except KeyError as error:
        raise BadDataSet(f"{name[:64]!a} is no attribute") from error  # it goes into a header


_RETURNED = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID",
    "ScheduledProcedureStepPriority", "ScheduledProcedureStepModificationDateTime", "ProcedureStepLabel",
    "WorklistLabel", "ScheduledProcedureStepStartDateTime", "ExpectedCompletionDateTime",
    "CommentsOnTheScheduledProcedureStep", "ScheduledWorkitemCodeSequence", "InputReadinessState",
    "ProcedureStepState", "ProcedureStepProgressInformationSequence", "ReferencedRequestSequence",
)  # fmt: skip


def _all_attributes() -> Dataset:
    """What is returned unasked: all but the instances, which are many."""
    keys = Dataset()
    for keyword in _RETURNED:
        tag, vr = _attribute(keyword)
        keys.add(new_element(tag, vr, Items() if vr == "SQ" else None))
    return keys


def _json(model: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(model), media_type=MEDIA, headers=headers)


def _event(event: QueuedEvent, number: int) -> Json:
    """PS3.18 8.10.4: the command's elements and the event information in one data set."""
    command = {
        "00000002": {"vr": "UI", "Value": [UPS_PUSH]},
        "00000110": {"vr": "US", "Value": [number]},
        "00001000": {"vr": "UI", "Value": [event.workitem_uid]},
        "00001002": {"vr": "US", "Value": [event.event_type]},
    }
    return command | dict(event.body)


async def _until_gone(socket: WebSocket) -> None:
    """Ends when the subscriber closes; what it says is not listened to."""
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
    except (WebSocketDisconnect, RuntimeError):
        return
