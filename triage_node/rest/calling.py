"""One request to a peer over HTTP, bounded in time and in what is read, with credentials from files.

A peer may be slow, send too much, or point elsewhere: each request ends within its time, an answer is read up to a limit
and as it lies on the wire, no redirect is followed, and no proxy is used that nobody configured.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from triage_node.dimse.line import Line

log = logging.getLogger(__name__)

MOST_BYTES = 4 << 20
"""The longest answer that is read."""


class NoAnswer(Exception):
    """Nobody answered, or not in a way that can be read. `connected`: the connection stood, so the request may have arrived."""

    def __init__(self, words: str, connected: bool = True) -> None:
        super().__init__(words)
        self.connected = connected


class Access(Protocol):
    """How to get in: the part of a peer's settings that is about TLS and credentials."""

    @property
    def tls_ca(self) -> Path | None: ...
    @property
    def token_file(self) -> Path | None: ...
    @property
    def user(self) -> str: ...
    @property
    def password_file(self) -> Path | None: ...


@dataclass(frozen=True, slots=True)
class Reply:
    """`headers`: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Caller:
    """A client with its credentials; one request at a time."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def ask(
        self,
        method: str,
        url: str,
        within_s: float,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        content: bytes | Iterable[bytes] | None = None,
    ) -> Reply:
        """The whole answer, whatever its status. Raises: NoAnswer."""
        line = Line()

        def connected(event: str, about: dict[str, Any]) -> None:
            """Of httpcore: hand the socket to the line that can be cut. The last of them, TLS, wraps the ones before."""
            if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
                line.hold(about["return_value"].get_extra_info("socket"))

        body = bytearray()
        try:
            with (
                line.cut_after(within_s),
                self._client.stream(
                    method, url, content=content, headers=headers, params=params, extensions={"trace": connected}
                ) as answer,
            ):
                for chunk in answer.iter_raw():
                    body += chunk
                    if len(body) > MOST_BYTES:
                        raise NoAnswer(f"an answer of more than {MOST_BYTES >> 20} MiB")
                return Reply(answer.status_code, {k.lower(): v for k, v in answer.headers.items()}, bytes(body))
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError, ValueError) as error:
            words = f"no valid answer: {type(error).__name__} {error}".strip()
            raise NoAnswer(words, line.was_open) from error


@contextmanager
def calling(access: Access, url: str, timeout_s: float, accept: str) -> Iterator[Caller]:
    """A client for a few requests below `url`. Files are read anew each time, so that a renewed secret is taken. Raises: NoAnswer.

    `timeout_s`: of one step: the connection, one read, one write. One connection for one request: a kept one may be dead,
    and whoever reuses it cannot tell a request that never arrived from one whose answer was lost.
    """
    # identity: a small answer that unpacks to a large one is not asked for, and not unpacked either
    headers = {"Accept": accept, "Accept-Encoding": "identity", "Connection": "close"}
    auth: httpx.Auth | None = None
    if access.token_file is not None:
        headers["Authorization"] = f"Bearer {_secret(access.token_file)}"
    elif access.password_file is not None:
        auth = httpx.BasicAuth(access.user, _secret(access.password_file))
    try:
        tls: ssl.SSLContext | bool = False  # of an address without TLS; loading all CAs for it takes 50 ms
        if url.startswith("https:"):
            tls = ssl.create_default_context(cafile=str(access.tls_ca) if access.tls_ca else None)
    except OSError as error:
        words = f"tls_ca {access.tls_ca} cannot be read: {error.strerror or error}"
        raise NoAnswer(words, connected=False) from error
    with httpx.Client(
        headers=headers, auth=auth, verify=tls, timeout=timeout_s, follow_redirects=False, trust_env=False
    ) as client:
        yield Caller(client)


def _secret(file: Path) -> str:
    try:
        secret = file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        words = f"{file} cannot be read as a secret: {type(error).__name__}"
        raise NoAnswer(words, connected=False) from error
    if not secret.isprintable() or not secret:
        raise NoAnswer(f"{file} holds no secret of one line", connected=False)
    return secret
