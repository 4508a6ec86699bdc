"""FHIR R4: the priority of the order (ServiceRequest) or of the work (Task) goes up, and a preliminary report says why.

The order is found through the ImagingStudy of the study UID, else by its accession number. A change names the version that
it is about (If-Match); when somebody else was faster (409, 412) it is looked at again. "Re-ordered" is what reading it back
shows. `held` and `written` of an Answer list each request with its priority: "ServiceRequest/1=routine"; nothing after = means
that it had none.

A server that takes no ids from its clients is given the report by conditional create (If-None-Exist on an identifier of ours),
and what it made of it is found by that identifier from then on.

A peer is not believed in what it says of itself: only ids of FHIR's own form are put into a URL, only resources that name the
study or the accession number count, and nothing is asked of another server.

Source: HL7 FHIR R4 3.1.0 (HTTP), RFC 6902 (JSON Patch); STANDARDS.md 3.4.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from triage_node.config.worklist_peers import FhirPeerSettings
from triage_node.domain.errors import DeliveryError, PermanentDeliveryError, TransientDeliveryError
from triage_node.rest.calling import Caller, NoAnswer, Reply, calling
from triage_node.worklist.adapter import Answer, Outcome, RaiseMessage
from triage_node.worklist.fhir_codes import PRELIMINARY, WAITING, WANTED, WITHDRAWN, rank
from triage_node.worklist.fhir_report import (
    OURS,
    Json,
    elsewhere,
    held_of,
    message_of,
    observations_of,
    report_id,
    resources,
    withdrawn,
)

log = logging.getLogger(__name__)

MOST_RESULTS = 50
LOOKS = 3
"""How often a request is looked at again that somebody else changed under our hands."""

_JSON = "application/fhir+json"
_PATCH = "application/json-patch+json"
_REFERENCE = re.compile(
    r"(?P<kind>[A-Z][A-Za-z]{1,63})/(?P<id>[A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?\Z"
)
_VERSION = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{1,100}"\Z')
_BUSY = frozenset({408, 425, 429})
_GONE = frozenset({404, 410})
_CHANGED = frozenset({409, 412})
_TEST_FAILED = frozenset({400, 422})
"""What some servers answer to a patch whose `test` failed; there are some that know no If-Match with a patch."""
_TAKES_NO_IDS = frozenset({400, 404, 405, 422})
"""What servers answer to a PUT that would create. Others that mean something else with it answer the same to a create."""
_REPORTED = "report received"


class _Refused(PermanentDeliveryError):
    def __init__(self, words: str, status: int) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True, slots=True)
class Found:
    """A resource at the peer. `reference`: "Type/id"; `version`: for If-Match, empty when it tells none."""

    reference: str
    resource: Json
    version: str

    @property
    def status(self) -> str:
        return str(self.resource.get("status", ""))

    @property
    def priority(self) -> str:
        """Empty when it has none."""
        told = self.resource.get("priority")
        return told if isinstance(told, str) and re.fullmatch(r"[a-z]{0,20}", told) else "unreadable" if told else ""

    @property
    def waits(self) -> bool:
        return self.status in WAITING[self.reference.partition("/")[0]]

    @property
    def subject(self) -> str:
        for name in ("subject", "for"):
            about = self.resource.get(name)
            if isinstance(about, dict) and isinstance(about.get("reference"), str):
                return str(about["reference"])
        return ""


@dataclass(frozen=True, slots=True)
class Study:
    """What the peer knows of a study: `imaging_study` is a reference or empty; `requests` is what carries the priority."""

    imaging_study: str
    orders: tuple[Found, ...]
    requests: tuple[Found, ...]
    subject: str


class FhirAdapter:
    key = "fhir"

    def __init__(self, settings: FhirPeerSettings) -> None:
        self._settings = settings
        self.timeout_s = settings.timeout_s

    def raise_study(self, message: RaiseMessage) -> Answer:
        with self._server() as server:
            found = _find(server, self._settings, message)
            if isinstance(found, Answer):
                return found
            waiting = [r for r in found.requests if r.waits]
            if not waiting:
                states = ", ".join(sorted({r.status or "without status" for r in found.requests}))
                return _too_late(server, message, f"the request is {states}")
            before = {r.reference: r.priority for r in waiting}
            before |= {k: v for k, v in _report(server, found, message, before).items() if k in before}
            return _raise_all(server, waiting, before, WANTED[message.urgency])

    def withdraw_raise(self, message: RaiseMessage, raised: Answer) -> Answer:
        with self._server() as server:
            taken_back = _withdraw_report(server, message.study_instance_uid)
            held, written = _parse(raised.held), _parse(raised.written)
            if not written:
                if not taken_back:
                    return Answer(Outcome.NOTHING_SENT, words="nothing was raised here")
                return Answer(Outcome.ACKNOWLEDGED, words=taken_back)
            before: dict[str, str] = {}
            after: dict[str, str] = {}
            too_late: list[str] = []
            for reference, ours in written.items():
                stands, now, why = _give_back(server, reference, held.get(reference, ""), ours)
                if stands is not None and now is not None:
                    before[reference], after[reference] = stands, now
                if why:
                    too_late.append(why)
            words = "; ".join(w for w in (*too_late, taken_back) if w)
            outcome = Outcome.TOO_LATE if too_late else Outcome.ACKNOWLEDGED
            return Answer(outcome, _listed(before), _listed(after), words)

    def close(self) -> None:
        return None

    @contextmanager
    def _server(self) -> Iterator[_Server]:
        try:
            with calling(self._settings, self._settings.url, self.timeout_s, _JSON) as caller:
                yield _Server(caller, self._settings.url, self.timeout_s)
        except NoAnswer as error:
            raise TransientDeliveryError(str(error)) from error


class _Server:
    """A FHIR server. Everything raises: DeliveryError, NoAnswer."""

    def __init__(self, caller: Caller, url: str, timeout_s: float) -> None:
        self._caller, self.url, self._timeout_s = caller, url, timeout_s

    def read(self, reference: str) -> Found | None:
        """None when it is not there (any more)."""
        reply = self._ask("GET", f"/{reference}")
        if reply.status in _GONE:
            return None
        resource = _object(_judged(f"reading {reference}", reply))
        kind, _, identity = reference.partition("/")
        if resource.get("resourceType") != kind or str(resource.get("id", identity)) != identity:
            raise TransientDeliveryError(f"reading {reference} gave something else")
        return Found(reference, resource, _version(reply, resource))

    def ours(self, reference: str) -> Found | None:
        """One of our resources, under the id that we gave it or under one of the server's own."""
        kind, _, identity = reference.partition("/")
        found = self.read(reference)
        if found is not None:
            return found
        named = [f for f in self.search(kind, identifier=f"{OURS}|{identity}") if _is_named(f, OURS, identity)]
        return named[0] if named else None

    def search(self, kind: str, **params: str) -> list[Found]:
        reply = self._ask("GET", f"/{kind}", params=params | {"_count": str(MOST_RESULTS)})
        bundle = _object(_judged(f"searching {kind}", reply))
        if bundle.get("resourceType") != "Bundle":
            raise TransientDeliveryError(f"searching {kind} gave no Bundle")
        entries = bundle.get("entry") or []
        found = []
        for entry in entries if isinstance(entries, list) else []:
            resource = entry.get("resource") if isinstance(entry, dict) else None
            if isinstance(resource, dict) and resource.get("resourceType") == kind:
                reference = f"{kind}/{resource.get('id')}"
                if _REFERENCE.match(reference):
                    found.append(Found(reference, resource, _version(None, resource)))
        links = bundle.get("link")
        more = (
            any(isinstance(k, dict) and k.get("relation") == "next" for k in links)
            if isinstance(links, list)
            else False
        )
        if more or len(found) > MOST_RESULTS:
            raise PermanentDeliveryError(
                f"more than {MOST_RESULTS} of {kind} for one study: it does not search by study"
            )
        return found

    def change_priority(self, request: Found, priority: str) -> bool:
        """False when somebody else has changed it since it was read."""
        steps: list[Json] = []
        if request.priority:
            steps.append({"op": "test", "path": "/priority", "value": request.priority})
        if priority:
            steps.append({"op": "add", "path": "/priority", "value": priority})
        elif request.priority:
            steps.append({"op": "remove", "path": "/priority"})
        headers = {"Content-Type": _PATCH} | ({"If-Match": request.version} if request.version else {})
        reply = self._ask("PATCH", f"/{request.reference}", headers, _bytes(steps))
        if reply.status in _CHANGED:
            return False
        if reply.status in _TEST_FAILED:
            there = self.read(request.reference)
            if there is None or there.priority != request.priority:
                return False
        _judged(f"changing {request.reference}", reply)
        return True

    def report(self, wanted: Sequence[Json], there: Found | None) -> bool:
        """The report, last of `wanted`, and what it refers to. `there`: as it stands now. False when somebody else was faster."""
        if there is None:
            try:
                return self.put_all(wanted)
            except _Refused as refused:
                if refused.status not in _TAKES_NO_IDS:
                    raise
                log.info("%s; created conditionally instead", refused)
                return self._put_or_create(wanted, {})
        if there.reference == _own(wanted[-1]):
            return self.put_all(wanted, there.version)
        known = {r: f.reference for r in map(_own, wanted) if (f := self.ours(r)) is not None}
        return self._put_or_create(wanted, known, there.version)

    def _put_or_create(self, wanted: Sequence[Json], known: Mapping[str, str], version: str = "") -> bool:
        """Under the server's own ids: `known` are ours and how it calls them, the others are created unless they are there."""
        places = {r: known.get(r) or f"urn:uuid:{uuid5(NAMESPACE_OID, r)}" for r in map(_own, wanted)}
        entries: list[Json] = []
        for ours, moved in zip(wanted, elsewhere(wanted, places), strict=True):
            if place := known.get(_own(ours)):
                entries.append({"resource": moved, "request": {"method": "PUT", "url": place}})
                continue
            unless = f"identifier={OURS}|{ours['id']}"
            request = {"method": "POST", "url": ours["resourceType"], "ifNoneExist": unless}
            entries.append({"fullUrl": places[_own(ours)], "resource": moved, "request": request})
        if version:
            entries[-1]["request"]["ifMatch"] = version
        return self._transaction(entries)

    def put_all(self, wanted: Sequence[Json], version: str = "") -> bool:
        """All of them or none, in one transaction. False when the last was changed since `version`."""
        entries: list[Json] = [
            {
                "resource": r,
                "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"},
            }
            for r in wanted
        ]
        if version:
            entries[-1]["request"]["ifMatch"] = version
        return self._transaction(entries)

    def _transaction(self, entries: Sequence[Json]) -> bool:
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        reply = self._ask("POST", "", {"Content-Type": _JSON}, _bytes(bundle))
        if reply.status in _CHANGED:
            return False
        done = _object(_judged("the report", reply))
        if done.get("type") != "transaction-response" or len(done.get("entry") or ()) != len(entries):
            raise TransientDeliveryError("the report was answered with something else than a transaction's response")
        return True

    def local(self, reference: object) -> str:
        """A reference as "Type/id" of this server; empty when it is none, or of another server."""
        text = reference.get("reference") if isinstance(reference, dict) else None
        if not isinstance(text, str):
            return ""
        match = _REFERENCE.match(text.removeprefix(f"{self.url}/"))
        return f"{match['kind']}/{match['id']}" if match else ""

    def _ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Reply:
        reply = self._caller.ask(method, self.url + path, self._timeout_s, headers, params, content)
        log.info("%s %s answered %d", method, path or "/", reply.status)
        return reply


def _find(server: _Server, settings: FhirPeerSettings, message: RaiseMessage) -> Study | Answer:
    """The study at the peer, or UNKNOWN_STUDY and why."""
    uid = f"urn:oid:{message.study_instance_uid}"
    studies = [s for s in server.search("ImagingStudy", identifier=f"urn:dicom:uid|{uid}") if _is_named(s, "", uid)]
    orders = _orders(server, studies)
    accession = message.accession_number.strip()
    if not orders and accession and not set(accession) & set(",|$\\"):
        system = settings.accession_system
        asked = f"{system}|{accession}" if system else accession
        orders = [o for o in server.search("ServiceRequest", identifier=asked) if _is_named(o, system, accession)]
    # an order that names no patient fits nobody: it is not counted against the others
    subjects = {f.subject for f in (*studies, *orders) if f.subject}
    if len(subjects) > 1:
        return Answer(Outcome.UNKNOWN_STUDY, words="study UID and accession number lead to several patients there")
    requests = orders
    if settings.raises == "Task":
        about = [f.reference for f in (*orders, *studies)]
        requests = (
            [t for t in server.search("Task", focus=",".join(about)) if _focus(server, t) in about] if about else []
        )
    if not requests:
        return Answer(Outcome.UNKNOWN_STUDY, words=f"no {settings.raises} for this study")
    return Study(
        studies[0].reference if studies else "", tuple(orders), tuple(requests), subjects.pop() if subjects else ""
    )


def _orders(server: _Server, studies: Sequence[Found]) -> list[Found]:
    based_on = [server.local(r) for s in studies for r in _list(s.resource.get("basedOn"))]
    wanted = dict.fromkeys(r for r in based_on if r.startswith("ServiceRequest/"))
    if len(wanted) > MOST_RESULTS:
        raise PermanentDeliveryError(f"more than {MOST_RESULTS} orders for one study")
    return [order for r in wanted if (order := server.read(r)) is not None]


def _focus(server: _Server, task: Found) -> str:
    return server.local(task.resource.get("focus"))


def _is_named(found: Found, system: str, value: str) -> bool:
    """Whether it bears this identifier. A server that does not know a search parameter gives whatever it has."""
    return any(
        isinstance(i, dict) and i.get("value") == value and system in ("", i.get("system"))
        for i in _list(found.resource.get("identifier"))
    )


def _report(server: _Server, study: Study, message: RaiseMessage, before: Mapping[str, str]) -> dict[str, str]:
    """See that the report of this message is there. Returns what was held before the first try of this message."""
    held = _listed(before)
    for _ in range(LOOKS):
        there = server.ours(f"DiagnosticReport/{report_id(message.study_instance_uid)}")
        if there is not None and message_of(there.resource) == message.message_id:
            return _parse(held_of(there.resource))
        if there is not None and there.status not in (PRELIMINARY, WITHDRAWN):
            log.warning("the report is %s by now and is left as it is", there.status)
            return {}
        subject = {"reference": study.subject} if study.subject else None
        try:
            wanted = resources(message, subject, [o.reference for o in study.orders], study.imaging_study, held)
        except (ValueError, TypeError, KeyError) as error:
            raise PermanentDeliveryError(f"the message cannot be said in FHIR: {error}") from error
        if server.report(wanted, there):
            return {}
    raise TransientDeliveryError("the report is changed by somebody else again and again")


def _withdraw_report(server: _Server, study_instance_uid: str) -> str:
    """Take back report and observations while the report is still as we left it. Returns what was done, in words."""
    for _ in range(LOOKS):
        there = server.ours(f"DiagnosticReport/{report_id(study_instance_uid)}")
        if there is None or there.status == WITHDRAWN:
            return ""
        if there.status != PRELIMINARY or not message_of(there.resource):
            return f"the report is {there.status} by now and was left"
        ours = [o for r in observations_of(study_instance_uid) if (o := server.ours(r)) is not None]
        back = [withdrawn(f.resource) for f in (*ours, there)]
        if server.put_all(back, there.version):
            return "report withdrawn"
    raise TransientDeliveryError("the report is changed by somebody else again and again")


def _too_late(server: _Server, message: RaiseMessage, words: str) -> Answer:
    """TOO_LATE, unless a try before this one has left its report there, which a disagreement must then take back."""
    there = server.ours(f"DiagnosticReport/{report_id(message.study_instance_uid)}")
    if there is None or message_of(there.resource) != message.message_id:
        return Answer(Outcome.TOO_LATE, words=words)
    return Answer(Outcome.NOT_CONFIRMED, words=f"{_REPORTED}; {words}")


def _raise_all(server: _Server, waiting: Sequence[Found], before: Mapping[str, str], wanted: str) -> Answer:
    """Raise what waits. The report stands by now, so a refusal is an answer in words and no error."""
    after: dict[str, str] = {}
    refused, outcome = "the request was begun or ended while we looked", Outcome.NOT_CONFIRMED
    for request in waiting:
        try:
            now = _raise(server, request, wanted)
        except PermanentDeliveryError as error:
            log.error("%s", error)
            refused, outcome = f"priority not changed: {error}", Outcome.IN_PART
            continue
        except (NoAnswer, TransientDeliveryError) as error:
            # the change may have arrived
            after[request.reference] = wanted
            held = _listed({k: before[k] for k in after})
            raise TransientDeliveryError(str(error), held, _listed(after)) from error
        if now is not None:
            after[request.reference] = now
    if not after:
        return Answer(outcome, words=f"{_REPORTED}; {refused}")
    return _read_back(server, {k: before[k] for k in after}, after, rank(wanted))


def _raise(server: _Server, request: Found, wanted: str) -> str | None:
    """The priority that it has then, never a lower one; None when it no longer waits."""
    looked: Found | None = request
    for _ in range(LOOKS):
        if looked is None or not looked.waits:
            return None
        if rank(looked.priority) >= rank(wanted):
            return looked.priority
        if server.change_priority(looked, wanted):
            return wanted
        looked = server.read(request.reference)
    raise TransientDeliveryError(f"{request.reference} is changed by somebody else again and again")


def _give_back(server: _Server, reference: str, back: str, ours: str) -> tuple[str | None, str | None, str]:
    """Priority before and after, and why nothing was done."""
    if not _REFERENCE.match(reference):
        raise PermanentDeliveryError("the stored answer to the raise cannot be read")
    for _ in range(LOOKS):
        request = server.read(reference)
        if request is None:
            return None, None, f"{reference} is gone"
        if request.priority == back or rank(back) >= rank(ours):
            return request.priority, request.priority, ""
        if not request.waits:
            return request.priority, request.priority, f"{reference} is {request.status}"
        if request.priority != ours:
            words = f"somebody else has set {request.priority or 'none'} since"
            return request.priority, request.priority, words
        if server.change_priority(request, back):
            return request.priority, back, ""
    raise TransientDeliveryError(f"{reference} is changed by somebody else again and again")


def _read_back(server: _Server, before: Mapping[str, str], after: Mapping[str, str], wanted: int) -> Answer:
    """ACKNOWLEDGED when the priorities stand. What was written is known even when reading it back fails: it must be kept."""
    stands = dict(after)
    try:
        for reference in after:
            request = server.read(reference)
            if request is None:
                words = "accepted, but not there any more"
                return Answer(Outcome.NOT_CONFIRMED, _listed(before), _listed(after), words)
            stands[reference] = request.priority
    except (DeliveryError, NoAnswer) as error:
        words = f"accepted, but not read back: {error}"
        return Answer(Outcome.NOT_CONFIRMED, _listed(before), _listed(after), words)
    words = "; ".join(f"{before[r] or 'none'} before, {p or 'none'} now" for r, p in stands.items())
    confirmed = all(rank(p) >= wanted for p in stands.values())
    outcome = Outcome.ACKNOWLEDGED if confirmed else Outcome.NOT_CONFIRMED
    return Answer(outcome, _listed(before), _listed(stands), words)


def _judged(what: str, reply: Reply) -> bytes:
    """The body of a success. A redirect stops: a peer has no say in where a finding goes. Raises: DeliveryError."""
    if 200 <= reply.status < 300:
        return reply.body
    words = f"{what} answered {reply.status}"
    if reply.status in _BUSY or reply.status in _CHANGED or (reply.status >= 500 and reply.status not in (501, 505)):
        raise TransientDeliveryError(words)
    raise _Refused(words, reply.status)


def _own(resource: Json) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def _object(body: bytes) -> Json:
    try:
        read = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise TransientDeliveryError("an answer that is no JSON") from error
    if not isinstance(read, dict):
        raise TransientDeliveryError("an answer that is no FHIR resource")
    return read


def _version(reply: Reply | None, resource: Json) -> str:
    tag = reply.headers.get("etag", "") if reply is not None else ""
    if _VERSION.match(tag):
        return tag
    meta = resource.get("meta")
    told = f'W/"{meta.get("versionId")}"' if isinstance(meta, dict) and meta.get("versionId") else ""
    return told if _VERSION.match(told) else ""


def _bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _listed(priorities: Mapping[str, str]) -> str:
    return ", ".join(f"{reference}={priority}" for reference, priority in sorted(priorities.items()))


def _parse(listed: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in listed.split(", ") if part)
    return {reference: priority for reference, _, priority in pairs}
