"""Every route of the console, and who may ask it. A route that is missing here fails: nothing is open by oversight."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from starlette.routing import BaseRoute, Mount, Route

from tests.support.deciding import Site
from tests.support.people import OURS, cookie
from triage_node.console.app import Console, create_app
from triage_node.domain.person import Role
from triage_node.processes.running import Running
from triage_node.processes.web import console_deps, rooms

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
READS = "reader radiologist administrator auditor"
CARES = "reader radiologist administrator"
READERS = "reader radiologist"
ANYBODY = "nobody reader radiologist administrator auditor"
WATCHES = "administrator auditor"
ADMINISTERS = "administrator"

# one line a route: method and path as the route states them, and who is answered ("nobody": without login)
TABLE = {
    "DELETE /api/studies/{study_instance_uid}/feedback": READERS,
    "GET /": READS,
    "GET /account": READS,
    "GET /api/feeds": WATCHES,
    "GET /api/lab": WATCHES,
    "GET /api/lab/drafts/{number}": WATCHES,
    "GET /api/lab/queue": WATCHES,
    "GET /api/lab/replay": WATCHES,
    "GET /api/mode": READS,
    "GET /api/operations": WATCHES,
    "GET /api/openapi.json": READS,
    "GET /api/shadow": WATCHES,
    "GET /api/studies/{study_instance_uid}": READS,
    "GET /api/studies/{study_instance_uid}/clinical": READS,
    "GET /api/studies/{study_instance_uid}/feedback": READS,
    "GET /api/studies/{study_instance_uid}/timeline": READS,
    "GET /api/worklist": READS,
    "GET /audit": WATCHES,
    "GET /audit/entries.csv": WATCHES,
    "GET /events": READS,
    "GET /fragments/lab/queue": WATCHES,
    "GET /fragments/lab/replay": WATCHES,
    "GET /fragments/list": READS,
    "GET /fragments/studies/{study_instance_uid}/feedback": READS,
    "GET /fragments/operations": WATCHES,
    "GET /fragments/studies/{study_instance_uid}/prognosis": READS,
    "GET /fragments/studies/{study_instance_uid}/replay": ADMINISTERS,
    "GET /fragments/selection/{name}": ADMINISTERS,
    "GET /health": ANYBODY,
    "GET /lab": WATCHES,
    "GET /lab/drafts/{number}": WATCHES,
    "GET /health/live": ANYBODY,
    "GET /health/ready": ANYBODY,
    "GET /login": ANYBODY,
    "GET /login/link": ANYBODY,
    "GET /login/provider": ANYBODY,
    "GET /login/provider/back": ANYBODY,
    "GET /mode": READS,
    "GET /metrics": WATCHES,
    "GET /operations": WATCHES,
    "GET /selection": ADMINISTERS,
    "GET /selection/{name}/pictures/{study}": ADMINISTERS,
    "GET /studies/{study_instance_uid}": READS,
    "GET /studies/{study_instance_uid}/maps/{revision}/{index}": READS,
    "GET /studies/{study_instance_uid}/pictures/{sop_instance_uid}": READS,
    "GET /studies/{study_instance_uid}/replay": ADMINISTERS,
    "GET /studies/{study_instance_uid}/slices/{digest}/{index}": READS,
    "GET /studies/{study_instance_uid}/slices/{digest}/{index}/findings": READS,
    "GET /shadow": WATCHES,
    "GET /users": WATCHES,
    "POST /account/password": READS,
    "POST /api/lab/drafts": ADMINISTERS,
    "POST /api/lab/drafts/{number}/{step}": ADMINISTERS,
    "POST /api/lab/rollback": ADMINISTERS,
    "POST /api/lab/truth": ADMINISTERS,
    "POST /api/studies/{study_instance_uid}/clinical": CARES,
    "POST /api/studies/{study_instance_uid}/feedback": READERS,
    "POST /lab/drafts": ADMINISTERS,
    "POST /lab/drafts/{number}/{step}": ADMINISTERS,
    "POST /lab/rollback": ADMINISTERS,
    "POST /lab/truth": ADMINISTERS,
    "POST /login": ANYBODY,
    "POST /logout": READS,
    "POST /mode/{action}": CARES,
    "POST /operations/baseline": ADMINISTERS,
    "POST /operations/retry": ADMINISTERS,
    "POST /selection": ADMINISTERS,
    "POST /selection/{name}/files": ADMINISTERS,
    "POST /selection/{name}/judge": ADMINISTERS,
    "POST /selection/{name}/left": ADMINISTERS,
    "POST /studies/{study_instance_uid}/bug-bundle": ADMINISTERS,
    "POST /studies/{study_instance_uid}/clinical": CARES,
    "POST /studies/{study_instance_uid}/feedback": READERS,
    "POST /studies/{study_instance_uid}/replay": ADMINISTERS,
    "POST /studies/{study_instance_uid}/shown": READERS,
    "POST /tokens": ADMINISTERS,
    "POST /tokens/{name}/revoked": ADMINISTERS,
    "POST /users": ADMINISTERS,
    "POST /users/{name}/disabled": ADMINISTERS,
    "POST /users/{name}/password": ADMINISTERS,
    "POST /users/{name}/roles": ADMINISTERS,
    "POST /users/{name}/sessions": ADMINISTERS,
}
STUDY = "1.2.1"
IN_PATHS = {"study_instance_uid": STUDY, "action": "pause", "part": "queue", "step": "shadow"}
"""What stands in a path for a part of it that only knows certain words; else 1."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(Path(tmp_path_factory.mktemp("roles")), [])
    made.arrive(STUDY)
    made.decide(STUDY)
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def app(site: Site) -> Console:
    running = Running("web", site.settings, site.store, threading.Event())
    made = create_app(console_deps(running), rooms(running))
    made.events.close()  # a stream then answers at once instead of staying open
    return made


def routes_of(routes: Sequence[BaseRoute]) -> set[str]:
    """Also of the routers that the framework keeps whole."""
    found = set()
    for route in routes:
        if inner := getattr(route, "original_router", None):
            found |= routes_of(inner.routes)
        elif isinstance(route, Route | APIRoute):
            found |= {f"{method} {route.path}" for method in route.methods or () if method != "HEAD"}
        else:
            assert isinstance(route, Mount), f"{route}: what does it answer?"
            assert route.path == "/static"
    return found


def test_every_route_stands_in_the_table(app):
    routes = routes_of(app.routes)
    assert len(routes) > 20
    missing = "\n".join(sorted(routes - set(TABLE)))
    assert missing == "", (
        f"{missing}\nstand not in TABLE. Add one line for each: who is answered, with the roles that the route asks for by "
        "pages.needs before it reads its body"
    )
    assert sorted(set(TABLE) - routes) == [], "these lines of TABLE have no route any more: take them out"


@pytest.mark.parametrize("who", ["nobody", *Role])
def test_each_role_is_answered_what_the_table_says_and_refused_the_rest(app, site, who):
    browser = TestClient(app.guarded, base_url="http://127.0.0.1:8080", headers=OURS, follow_redirects=False)
    wrong = []
    for route, allowed in TABLE.items():
        method, path = route.split(" ", 1)
        browser.cookies = {} if who == "nobody" else cookie(site.store, Role(who))  # type: ignore[assignment]
        is_api = path.startswith("/api/")
        sent = {"content": b"{}" if is_api else b"", "headers": {"content-type": JSON if is_api else FORM}}
        filled = re.sub(r"\{([^}]+)\}", lambda part: IN_PATHS.get(part[1], "1"), path)
        answer = browser.request(method, filled, **(sent if method != "GET" else {}))
        to_login = answer.status_code == 401 or answer.headers.get("location", "").startswith("/login?")
        to_login = to_login or (answer.headers.get("location") == "/login" and path != "/logout")
        refused = to_login if who == "nobody" else answer.status_code == 403
        answered = not to_login and (path == "/login" or answer.status_code not in (403, 500))
        if not (answered if who in allowed.split() else refused):
            wrong.append(f"{route} said {answer.status_code} {answer.headers.get('location', '')}")
    assert not wrong, f"{who}: the table says otherwise"
