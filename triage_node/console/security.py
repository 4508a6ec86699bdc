"""What every answer carries, and who is answered at all.

There is no inline script or style anywhere, so the policy needs no exception; text from DICOM headers that slipped
through escaping could still not run. The Host check keeps a foreign web site from reading a page without login by
pointing its own name at this machine (DNS rebinding).
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    # not "no-referrer": browsers then send "Origin: null" with our own form, and nobody could tell it from a foreign one
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Secured:
    """Wraps the whole application, error answers included."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if not scope["path"].startswith("/static/"):
                    headers["cache-control"] = "no-store"
            await send(message)

        if "*" not in self._hosts and _host(Headers(scope=scope).get("host", "")) not in self._hosts:
            await PlainTextResponse("unknown host name", status_code=421)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def is_from_our_page(headers: Headers) -> bool:
    """Whether a form was sent by a page of ours: a foreign page must not enter facts through somebody's browser.

    `Sec-Fetch-Site` cannot be set by scripts; where a browser leaves it out (plain HTTP on another machine), the Origin must name
    the host that was asked. A request that tells neither is refused. There is no cookie that could be misused beside this.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    return _is_same_host(headers)


def is_no_foreign_page(headers: Headers) -> bool:
    """For JSON, which no page can send elsewhere without being asked for leave first: programs name no origin, pages do."""
    if "origin" not in headers and "sec-fetch-site" not in headers:
        return True
    return is_from_our_page(headers)


def _is_same_host(headers: Headers) -> bool:
    scheme, separator, host = headers.get("origin", "").partition("://")
    return bool(separator) and scheme in ("http", "https") and host.lower() == headers.get("host", "").lower() != ""


def _host(header: str) -> str:
    """The name without the port; an IPv6 address keeps its brackets."""
    if header.startswith("["):
        name, bracket, _ = header.partition("]")
        return name.lower() + bracket
    return header.partition(":")[0].lower()
