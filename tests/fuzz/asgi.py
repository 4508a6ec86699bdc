"""One request to an application without a socket; what it raises, and every answer of 500 and above, is a find."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from starlette.types import ASGIApp

Ask = Callable[[str, str, bytes, Mapping[str, str]], int]


def asking(app: ASGIApp, host: str) -> Ask:
    """`ask(method, target, body, headers)` -> status. `target`: path and query as they stand in the request line."""
    loop = asyncio.new_event_loop()

    def ask(method: str, target: str, body: bytes, headers: Mapping[str, str]) -> int:
        return loop.run_until_complete(_asked(app, host, method, target, body, headers))

    return ask


async def _asked(app: ASGIApp, host: str, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> int:
    path, _, query = target.partition("?")
    statuses: list[int] = []
    parts: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return parts.pop() if parts else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    sent = {"host": host, "content-length": str(len(body)), **headers}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "replace"),
        "query_string": query.encode("utf-8", "replace"),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1", "replace")) for name, value in sent.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8080),
    }
    await app(scope, receive, send)  # type: ignore[arg-type]
    assert len(statuses) == 1
    is_fine = statuses[0] < 500 or path.startswith("/health")  # which says 503 where a role gives no sign of life
    assert is_fine, f"{method} {target[:200]!r} was answered {statuses[0]}"
    return statuses[0]
