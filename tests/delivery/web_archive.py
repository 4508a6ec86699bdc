"""A DICOMweb archive on the standard library's HTTP server, whose answer a test chooses (PS3.18 10.5)."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import Any

from pydicom import dcmread

from tests.support.http_door import http_served
from triage_node.config.schema import ArchiveSettings

Answer = tuple[int, bytes, dict[str, str]]


@dataclass
class WebArchive:
    """`received`: SOP Instance UID -> parts as they came; `reasons`: UID -> Failure Reason; `instead`: answers in our place."""

    scheme: str
    port: int = 0
    received: dict[str, list[bytes]] = field(default_factory=dict)
    requests: list[dict[str, str]] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    instead: Callable[[list[str]], Answer | None] = lambda _: None

    def settings(self, **more: Any) -> ArchiveSettings:
        return settings_for(self.port, **({"stow_url": f"{self.scheme}://127.0.0.1:{self.port}/dicom-web"} | more))

    def store(self, parts: list[bytes]) -> Answer:
        uids = [str(dcmread(BytesIO(p), stop_before_pixels=True).SOPInstanceUID) for p in parts]
        if (answer := self.instead(uids)) is not None:
            return answer
        for uid, part in zip(uids, parts, strict=True):
            if uid not in self.reasons:
                self.received.setdefault(uid, []).append(part)
        return told([u for u in uids if u not in self.reasons], {u: self.reasons[u] for u in uids if u in self.reasons})


def settings_for(port: int, **more: Any) -> ArchiveSettings:
    url = f"http://127.0.0.1:{port}/dicom-web"
    return ArchiveSettings(
        **{"name": "pacs", "stow_url": url, "clinical": False, "connect_timeout_s": 30, "response_timeout_s": 30} | more
    )


def told(stored: list[str], failed: dict[str, int]) -> Answer:
    """A Store Instances Response, written by hand (PS3.18 I.2)."""
    model: dict[str, Any] = {}
    if stored:
        items = [{"00081155": {"vr": "UI", "Value": [u]}} for u in stored]
        model["00081199"] = {"vr": "SQ", "Value": items}
    if failed:
        items = [
            {"00081155": {"vr": "UI", "Value": [u]}, "00081197": {"vr": "US", "Value": [r]}} for u, r in failed.items()
        ]
        model["00081198"] = {"vr": "SQ", "Value": items}
    status = 200 if not failed else 202 if stored else 409
    return status, json.dumps(model).encode(), {"Content-Type": "application/dicom+json"}


@contextmanager
def web_archive(tls: ssl.SSLContext | None = None) -> Iterator[WebArchive]:
    archive = WebArchive("http" if tls is None else "https")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            archive.requests.append({"path": self.path, **self.headers})
            self._say(archive.instead([]) or (200, b"[]", {}))

        def do_POST(self) -> None:
            archive.requests.append({"path": self.path, **self.headers})
            body = self.rfile.read(int(self.headers["Content-Length"]))
            whole = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode() + body
            parts = list(message_from_bytes(whole, policy=HTTP).iter_parts())
            assert all(p.get_content_type() == "application/dicom" for p in parts)
            self._say(archive.store([p.get_payload(decode=True) for p in parts]))

        def _say(self, answer: Answer) -> None:
            status, body, headers = answer
            self.send_response(status)
            for key, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return None

    with http_served(Handler, tls) as (archive.port, _):
        yield archive
