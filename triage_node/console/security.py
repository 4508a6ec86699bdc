"""What every answer carries, and who is answered at all: one door in front of every route.

There is no inline script or style anywhere, so the policy needs no exception; text from DICOM headers that slipped
through escaping could still not run. The Host check keeps a foreign web site from reading a page by pointing its own name at
this machine (DNS rebinding). Who asks is found out here once, so that a route which forgets to ask is closed, not open: routes
state roles only. A person has a session in a cookie, which browsers send by themselves, so nothing is changed with it unless
one of our own pages asks; a program has a token in a header, which no page can send elsewhere without leave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from anyio import to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from triage_node.domain.account import Known
from triage_node.domain.account import Scope as TokenScope

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
STRICT_TRANSPORT = "max-age=31536000"

LOGIN, ACCOUNT, LOGOUT = "/login", "/account", "/logout"
PUBLIC = frozenset(
    {LOGIN, "/login/link", "/login/provider", "/login/provider/back", "/health", "/health/live", "/health/ready"}
)
"""Answered to nobody in particular: the login, and signs of life for a monitor, which say no details then."""
_WITH_OLD_PASSWORD = frozenset({ACCOUNT, "/account/password", LOGOUT})
_MONITORED = ("/health", "/metrics")
_BY_ITSELF = ("/events", "/fragments/")
"""What an open page asks for without anybody there."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_KNOWN = "triage_node.known"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request brings to say whose it is. `is_used`: a person did something, not a page by itself."""

    session: str
    token: str
    address: str
    is_used: bool


Identify = Callable[[Asked], Known | None]


class Secured:
    """Wraps the whole application, error answers included. Without `identify` nobody logs in: for tests of single pages."""

    def __init__(
        self, app: ASGIApp, hosts: Sequence[str], identify: Identify | None = None, is_tls: bool = False
    ) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}
        self._identify = identify
        self._is_tls = is_tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if self._is_tls:
                    headers["strict-transport-security"] = STRICT_TRANSPORT
                if not scope["path"].startswith("/static/"):
                    headers["cache-control"] = "no-store"
            await send(message)

        refused = await self._refused(scope)
        await (refused or self._app)(scope, receive, send_with_headers)

    async def _refused(self, scope: Scope) -> Response | None:
        """The answer to somebody who may not come in; None for whoever may, who then stands in the scope."""
        request = HTTPConnection(scope)
        if "*" not in self._hosts and _host(request.headers.get("host", "")) not in self._hosts:
            return PlainTextResponse("unknown host name", status_code=421)
        path, method = scope["path"], scope["method"]
        if path.startswith("/static/"):
            return None
        known: Known | None = None
        if self._identify is not None:
            known = await to_thread.run_sync(self._identify, self._asked(request))
            if known is None and path not in PUBLIC:
                return _log_in_first(request)
            if known is not None and known.scopes is not None and not _is_in_scope(known, path, method):
                return _no(path, 403, "This token may not do that; its scopes say what it may.")
            if known is not None and known.must_change and path not in _WITH_OLD_PASSWORD | PUBLIC:
                return _no(path, 403, "The password must be changed first.", ACCOUNT if method == "GET" else "")
        if method not in _SAFE and not self._may_change(request, known):
            return _no(path, 403, "Changes are taken from this node's own pages only, or with a token.")
        scope[_KNOWN] = known
        return None

    def _asked(self, request: HTTPConnection) -> Asked:
        # a header that cannot be used counts too: a request is judged by its token alone, or by its cookie alone
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        has_header = "authorization" in request.headers
        path = request.scope["path"]
        return Asked(
            session="" if has_header else request.cookies.get(cookie_name(self._is_tls), ""),
            token=token.strip() if scheme.lower() == "bearer" else "",
            address=address_of(request),
            is_used=not path.startswith(_BY_ITSELF),
        )

    def _may_change(self, request: HTTPConnection, known: Known | None) -> bool:
        if known is not None and known.scopes is not None:
            return True
        if self._identify is None and request.scope["path"].startswith("/api/"):
            return is_no_foreign_page(request.headers)
        return is_from_our_page(request.headers)


def known_of(request: HTTPConnection) -> Known | None:
    """Who was let in with this request."""
    known = request.scope.get(_KNOWN)
    return known if isinstance(known, Known) else None


def address_of(request: HTTPConnection) -> str:
    """The other end of the connection. Headers that tell another one can be written by anybody, so none is believed."""
    return request.client.host if request.client else "unknown address"


def cookie_name(is_tls: bool) -> str:
    # a browser takes a name with this prefix only with Secure, Path=/ and without Domain
    return "__Host-triage" if is_tls else "triage"


def own_path(text: str) -> str:
    """Where a login leads to: a path of this node, else the list."""
    is_ours = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable() and "\\" not in text
    return text if is_ours and len(text) < 2048 and not text.startswith(LOGIN) else "/"


def moved_on(path: str) -> HTMLResponse:
    """A page that leads to `path` from here. After a redirect from a foreign site a browser keeps a strict cookie back."""
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Triage Node</title>'
        f'<meta http-equiv="refresh" content="0;url={escape(path)}"></head>'
        f'<body><p><a href="{escape(path)}">Go on</a></p></body></html>'
    )


def is_from_our_page(headers: Headers) -> bool:
    """Whether a page of ours asks: a foreign page must not change anything through somebody's browser.

    `Sec-Fetch-Site` cannot be set by scripts; where a browser leaves it out (plain HTTP on another machine), the Origin must name
    the host that was asked. A request that tells neither is refused.
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


def _log_in_first(request: HTTPConnection) -> Response:
    path, headers = request.scope["path"], request.headers
    here = path + (f"?{request.url.query}" if request.url.query else "")
    is_page = not path.startswith(("/api/", "/metrics", *_BY_ITSELF)) and request.scope["method"] in ("GET", "HEAD")
    if not is_page:
        return JSONResponse({"error": "Log in first."}, 401, headers={"WWW-Authenticate": "Bearer"})
    if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") == "navigate":
        return moved_on(own_path(here))  # a link elsewhere: the cookie comes with the next request
    return RedirectResponse(f"{LOGIN}?next={quote(here, safe='/')}" if here != "/" else LOGIN, 303)


def _is_in_scope(known: Known, path: str, method: str) -> bool:
    scopes = known.scopes or frozenset()
    if path.startswith(_MONITORED):
        return TokenScope.MONITOR in scopes and method in _SAFE
    wanted = TokenScope.READ if method in _SAFE else TokenScope.CHANGE
    return path.startswith("/api/") and wanted in scopes


def _no(path: str, status: int, words: str, go_to: str = "") -> Response:
    if path.startswith("/api/"):
        return JSONResponse({"error": words}, status)
    return RedirectResponse(go_to, 303) if go_to else PlainTextResponse(words, status)


def _is_same_host(headers: Headers) -> bool:
    scheme, separator, host = headers.get("origin", "").partition("://")
    return bool(separator) and scheme in ("http", "https") and host.lower() == headers.get("host", "").lower() != ""


def _host(header: str) -> str:
    """The name without the port; an IPv6 address keeps its brackets."""
    if header.startswith("["):
        name, bracket, _ = header.partition("]")
        return name.lower() + bracket
    return header.partition(":")[0].lower()
