"""STOW-RS of stored files, byte for byte, one request for a batch (PS3.18 10.5): the other way to an archive.

The archive says of each object whether it has it; what it does not name counts as not stored, whatever the status says. A
batch that is refused or not answered as a whole goes out once more object by object, so that the one at fault is found.
Where nothing was learned of the objects (wrong address, wrong credentials, overload) they wait with their queue.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from triage_node.config.schema import ArchiveSettings
from triage_node.delivery.outgoing import Outgoing, transfer_syntax
from triage_node.delivery.retry import Outcome, Verdict, outcome_of_status
from triage_node.rest.calling import Caller, NoAnswer, Reply, calling

log = logging.getLogger(__name__)

_JSON = "application/dicom+json"
_SLOWEST_BYTES_PER_S = 512 << 10
"""A link that is slower than this counts as hung; a large object over a slow one does not."""
_PIECE_BYTES = 256 << 10

_REFERENCED, _FAILED, _OTHER_FAILURES = "00081199", "00081198", "0008119A"
_SOP_INSTANCE_UID, _FAILURE_REASON, _WARNING_REASON = "00081155", "00081197", "00081196"
_SYNTAX_NOT_SUPPORTED = 0xC122
"""PS3.18 table 10.5.3-3; of the C1xx range that C-STORE does not know."""

_BUSY = frozenset({408, 425, 429, 502, 503, 504})
_NOT_LET_IN = frozenset({401, 403, 404, 405, 406, 407, 410, 421, 426, 501, 505, 511})
_NO_GOOD = frozenset({400, 411, 413, 415, 422})
"""Of one object alone: the archive will never take it."""


def send_batch(
    archive: ArchiveSettings, objects: Sequence[Outgoing], stopping: Callable[[], bool] = lambda: False
) -> dict[str, Outcome]:
    """Send objects. Returns sop_instance_uid -> Outcome for every one of them.

    Nothing is raised for what a peer or a file can do.
    """
    outcomes: dict[str, Outcome] = {}
    for o in objects:
        found = transfer_syntax(o)
        if isinstance(found, Outcome):
            outcomes[o.sop_instance_uid] = found
    ready = [o for o in objects if o.sop_instance_uid not in outcomes]
    if not ready:
        return outcomes
    try:
        with calling(archive, archive.stow_url, archive.connect_timeout_s, _JSON) as caller:
            outcomes |= _Sender(archive, caller, stopping).send(ready)
    except NoAnswer as error:
        outcomes |= dict.fromkeys((o.sop_instance_uid for o in ready), Outcome(Verdict.UNTRIED, str(error)))
    return outcomes


def problem_with(archive: ArchiveSettings) -> str:
    """Why it cannot be reached or does not let us in; empty when it answers. Asks for one study, sends nothing."""
    try:
        with calling(archive, archive.stow_url, archive.connect_timeout_s, _JSON) as caller:
            url = f"{archive.stow_url}/studies"
            reply = caller.ask("GET", url, archive.response_timeout_s, params={"limit": "1"})
    except NoAnswer as error:
        return str(error)
    # one that has no search (404, 405) or dislikes this one (400) is there
    refused = 300 <= reply.status < 400 or reply.status in (401, 403, 407) or reply.status >= 500
    return f"answered {reply.status}" if refused else ""


class _Sender:
    def __init__(self, archive: ArchiveSettings, caller: Caller, stopping: Callable[[], bool]) -> None:
        self._archive, self._caller, self._stopping = archive, caller, stopping

    def send(self, objects: Sequence[Outgoing]) -> dict[str, Outcome]:
        if len(objects) > 1:
            uids = [o.sop_instance_uid for o in objects]
            try:
                told = _outcomes(self._post(objects), uids)
            except NoAnswer as error:
                if not error.connected:
                    return dict.fromkeys(uids, Outcome(Verdict.UNTRIED, str(error)))
                told = None
            if told is not None:
                return told
        return self._one_by_one(objects)

    def _one_by_one(self, objects: Sequence[Outgoing]) -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        lost = ""
        for o in objects:
            lost = lost or ("the node was stopped" if self._stopping() else "")
            if lost:
                outcomes[o.sop_instance_uid] = Outcome(Verdict.UNTRIED, lost)
                continue
            try:
                reply = self._post([o])
            except NoAnswer as error:
                lost = str(error)
                verdict = Verdict.AGAIN if error.connected else Verdict.UNTRIED
                outcomes[o.sop_instance_uid] = Outcome(verdict, lost, perhaps_there=error.connected)
                continue
            told = _outcomes(reply, [o.sop_instance_uid])
            outcomes |= told or {o.sop_instance_uid: _judged_alone(reply.status)}
            if outcomes[o.sop_instance_uid].verdict is Verdict.UNTRIED:
                lost = outcomes[o.sop_instance_uid].words
        return outcomes

    def _post(self, objects: Sequence[Outgoing]) -> Reply:
        """Raises: NoAnswer."""
        boundary = uuid.uuid4().hex
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode("ascii")
        tail = f"--{boundary}--\r\n".encode("ascii")
        try:
            length = sum(len(head) + o.path.stat().st_size + 2 for o in objects) + len(tail)
        except OSError as error:
            raise NoAnswer(f"our own file cannot be read: {error.strerror or error}", connected=False) from error
        reply = self._caller.ask(
            "POST",
            f"{self._archive.stow_url}/studies",
            self._archive.response_timeout_s + length / _SLOWEST_BYTES_PER_S,
            headers={
                "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
                "Content-Length": str(length),
            },
            content=_multipart(objects, head, tail),
        )
        log.info("archive=%s objects=%d answered %d", self._archive.name, len(objects), reply.status)
        return reply


def _multipart(objects: Sequence[Outgoing], head: bytes, tail: bytes) -> Iterator[bytes]:
    for o in objects:
        yield head
        with o.path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece
        yield b"\r\n"
    yield tail


def _outcomes(reply: Reply, uids: Sequence[str]) -> dict[str, Outcome] | None:
    """What the answer says of each object; None when it says nothing of them and one of them may be at fault."""
    status = reply.status
    if 300 <= status < 400 or status in _NOT_LET_IN or status in _BUSY:
        return dict.fromkeys(uids, Outcome(Verdict.UNTRIED, f"answered {status}"))
    if status not in (200, 202, 409):
        return None
    told = _told(reply.body)
    if not any(uid in told for uid in uids):
        return None
    unnamed = Outcome(Verdict.AGAIN, f"answered {status} without naming it", perhaps_there=True)
    return {uid: told.get(uid, unnamed) for uid in uids}


def _judged_alone(status: int) -> Outcome:
    """Of an object that went out alone, after an answer that names none."""
    if status in _NO_GOOD:
        return Outcome(Verdict.NEVER, f"refused with {status}")
    return Outcome(Verdict.AGAIN, f"answered {status} without naming it", perhaps_there=True)


def _told(body: bytes) -> dict[str, Outcome]:
    """SOP Instance UID -> Outcome, from a Store Instances Response (PS3.18 I.2); empty when it is none."""
    try:
        model = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if isinstance(model, list) and len(model) == 1:
        (model,) = model
    if not isinstance(model, dict):
        return {}
    told: dict[str, Outcome] = {}
    for item in _items(model, _REFERENCED):
        warning = _first(item, _WARNING_REASON)
        words = f"stored with warning 0x{warning:04X}" if isinstance(warning, int) and warning else ""
        told[str(_first(item, _SOP_INSTANCE_UID))] = Outcome(Verdict.STORED, words)
    # an object that is in both was not stored
    for item in (*_items(model, _FAILED), *_items(model, _OTHER_FAILURES)):
        reason = _first(item, _FAILURE_REASON)
        told[str(_first(item, _SOP_INSTANCE_UID))] = _failed(reason)
    return told


def _failed(reason: object) -> Outcome:
    if not isinstance(reason, int) or not 0 < reason <= 0xFFFF:
        return Outcome(Verdict.AGAIN, "refused without a reason")
    if reason == _SYNTAX_NOT_SUPPORTED:
        return Outcome(Verdict.NEVER, f"refused with 0x{reason:04X}: transfer syntax not supported")
    return outcome_of_status(reason)


def _items(model: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    element = model.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return [v for v in values if isinstance(v, dict)] if isinstance(values, list) else []


def _first(item: Mapping[str, Any], tag: str) -> object:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None
