"""Whatever changes something through a page or the API, and whoever looks at a study, stands in the audit trail with a name.

One line a route that is no GET: who it names, what it writes, and a request that does it. A route without a line fails.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from tests.console.test_roles import routes_of
from tests.support.deciding import Site
from tests.support.people import EVERYBODY, anybody, cookie, page_of
from triage_node.config.worklist_peers import Hl7PeerSettings
from triage_node.domain.audit import AuditEntry, AuditSearch
from triage_node.domain.finding import OperatingPoint
from triage_node.domain.message import MessageState
from triage_node.domain.person import Role
from triage_node.instances.archive import Archive
from triage_node.processes.operations.standing import key_of
from triage_node.processes.running import Running, now
from triage_node.store import (
    accounts,
    audit_chain,
    audit_search,
    drafts,
    messages,
    operations,
    operations_drift,
    policy,
)

UID = "1.2.1"
PASSWORD = "a quiet kettle on the ward"
DRAFT = {"scope": "", "ich.unsure": "0.2", "ich.raise": "0.45", "ich.notify": "0.8", "why": "too many"}
POINT = {"finding": "ich", "raise_probability": 0.46, "notify_probability": 0.8, "unsure_from": 0.2}
TABLE = f"study_instance_uid,label\n{UID},1\n"
CSV = {"content-type": "text/csv"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


@dataclass
class World:
    """`chief` has every role; `lee` logs in with a password."""

    site: Site
    chief: TestClient
    lee: TestClient
    one_time: str

    def form(self, path: str, **fields: Any) -> Response:
        return self.chief.post(path, data=fields, headers=FORM)

    def draft(self) -> int:
        return drafts.newest(self.site.store)[0].number

    def policy(self) -> int:
        return policy.in_force(self.site.store).version

    def folder(self) -> list[Response]:
        """A folder of one file for the selection lab: sent, asked about, left."""
        place = f"/selection/{self.chief.post('/selection').json()['name']}"
        sent = self.chief.post(f"{place}/files", content=b"x", headers={"content-type": "application/octet-stream"})
        return [sent, self.chief.post(f"{place}/judge"), self.chief.post(f"{place}/left")]

    def parked(self) -> str:
        return key_of(operations.parked(self.site.store, 10, [])[0])


Request = Callable[[World], Response]

# in the order in which they are done; the name is the one of whoever asks
DEEDS: dict[str, tuple[str, str, Request]] = {
    "POST /login": (
        "lee",
        "login",
        lambda w: w.lee.post("/login", data={"name": "lee", "password": w.one_time}),
    ),
    "POST /account/password": (
        "lee",
        "password changed",
        lambda w: w.lee.post("/account/password", data={"old": w.one_time, "new": PASSWORD, "again": PASSWORD}),
    ),
    "POST /logout": ("lee", "logout", lambda w: w.lee.post("/logout")),
    **{
        route: (EVERYBODY, action, request)
        for route, action, request in (
            ("POST /users", "account added", lambda w: w.form("/users", name="okafor", role="reader")),
            ("POST /users/{name}/roles", "roles changed", lambda w: w.form("/users/okafor/roles", role="auditor")),
            ("POST /users/{name}/password", "one-time password made", lambda w: w.form("/users/okafor/password")),
            ("POST /users/{name}/sessions", "sessions ended", lambda w: w.form(f"/users/{Role.READER}/sessions")),
            ("POST /users/{name}/disabled", "account disabled", lambda w: w.form("/users/okafor/disabled", disabled="yes")),
            ("POST /tokens", "token added", lambda w: w.form("/tokens", name="ris", days="9", role="reader", scope="read")),
            ("POST /tokens/{name}/revoked", "token revoked", lambda w: w.form("/tokens/ris/revoked")),
            (
                "POST /studies/{study_instance_uid}/shown",
                "image shown",
                lambda w: w.chief.post(f"/studies/{UID}/shown", json={"revision": 1}),
            ),
            (
                "POST /studies/{study_instance_uid}/feedback",
                "flag ended",
                lambda w: w.form(f"/studies/{UID}/feedback", said="disagree", revision="1"),
            ),
            (
                "DELETE /api/studies/{study_instance_uid}/feedback",
                "feedback taken back",
                lambda w: w.chief.delete(f"/api/studies/{UID}/feedback"),
            ),
            (
                "POST /api/studies/{study_instance_uid}/feedback",
                "feedback",
                lambda w: w.chief.post(f"/api/studies/{UID}/feedback", json={"said": "agree", "revision": 1}),
            ),
            (
                "POST /studies/{study_instance_uid}/clinical",
                "clinical facts stated",
                lambda w: w.form(f"/studies/{UID}/clinical", entered_by="x", seen_revision="0", gcs="9"),
            ),
            (
                "POST /api/studies/{study_instance_uid}/clinical",
                "clinical facts stated",
                lambda w: w.chief.post(
                    f"/api/studies/{UID}/clinical", json={"entered_by": "x", "seen_revision": 1, "gcs": 8}
                ),
            ),
            (
                "POST /studies/{study_instance_uid}/replay",
                "replay asked",
                lambda w: w.form(f"/studies/{UID}/replay", bundle="bloodnet", policy="1"),
            ),
            (
                "POST /studies/{study_instance_uid}/bug-bundle",
                "bug bundle made",
                lambda w: w.form(f"/studies/{UID}/bug-bundle"),
            ),
            ("POST /selection", "selection begun", lambda w: w.chief.post("/selection")),
            ("POST /selection/{name}/files", "selection tried", lambda w: w.folder()[0]),  # told together, once all are there
            ("POST /selection/{name}/judge", "selection tried", lambda w: w.folder()[1]),
            ("POST /selection/{name}/left", "selection erased", lambda w: w.folder()[2]),
            ("POST /operations/retry", "retry", lambda w: w.form("/operations/retry", key=w.parked())),
            ("POST /operations/baseline", "drift baseline", lambda w: w.form("/operations/baseline", scanner="CT9")),
            ("POST /lab/drafts", "policy draft drafted", lambda w: w.form("/lab/drafts", **DRAFT, replaces=w.policy())),
            (
                "POST /lab/drafts/{number}/{step}",
                "policy draft shadow on",
                lambda w: w.form(f"/lab/drafts/{w.draft()}/shadow"),
            ),
            (
                "POST /api/lab/drafts/{number}/{step}",
                "policy draft withdrawn",
                lambda w: w.chief.post(f"/api/lab/drafts/{w.draft()}/withdraw"),
            ),
            (
                "POST /api/lab/drafts",
                "policy draft drafted",
                lambda w: w.chief.post(
                    "/api/lab/drafts", json={"replaces": w.policy(), "why": "few", "points": [POINT]}
                ),
            ),
            ("POST /lab/rollback", "policy added", lambda w: w.form("/lab/rollback", in_force=w.policy())),
            (
                "POST /api/lab/rollback",
                "policy added",
                lambda w: w.chief.post("/api/lab/rollback", json={"in_force": w.policy()}),
            ),
            ("POST /lab/truth", "truth imported", lambda w: w.form("/lab/truth", table=TABLE, source="board")),
            (
                "POST /api/lab/truth",
                "truth imported",
                lambda w: w.chief.post(
                    "/api/lab/truth?source=two&covers_unflagged=true", content=TABLE, headers=CSV
                ),
            ),
            ("POST /mode/{action}", "mode: pause", lambda w: w.form("/mode/pause")),
        )
    },
}  # fmt: skip
LOOKS = {
    f"/studies/{UID}": "study viewed",
    f"/api/studies/{UID}": "study read",
    f"/api/studies/{UID}/timeline": "study read",
    f"/api/studies/{UID}/clinical": "study read",
    f"/api/studies/{UID}/feedback": "study read",
    "/audit": "audit trail read",
    "/audit/entries.csv?from=2026-01-01&to=2026-12-31": "audit exported",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    peer = Hl7PeerSettings(name="ris", host="127.0.0.1")
    site = Site(Path(tmp_path_factory.mktemp("deeds")), [peer])
    store, at = site.store, now()
    site.arrive(UID)
    site.decide(UID)
    pixels = Archive(site.settings.store.data_folder).path(hashlib.sha256(UID.encode()).hexdigest())
    pixels.parent.mkdir(parents=True, exist_ok=True)
    pixels.touch()  # a replay asks whether they are still there
    row = messages.claim(store, "ris", "test", now(), timedelta(seconds=30))
    assert row is not None
    messages.record(store, row.id, MessageState.PARKED, at, "AR unknown order")
    for threshold in (0.31, 0.32):
        policy.add(store, [OperatingPoint("ich", threshold, 0.6, 0)], "a and b", "tried", at)
    with store.write() as c:
        operations_drift.add(c, operations_drift.Sample(UID, 1, at, "CT9", 0.9, True, 5.0, 3.0))
    one_time = accounts.add(store, at, "test", "lee", frozenset({Role.READER}))
    cookie(store, Role.READER)
    running = Running("web", site.settings, store, threading.Event())
    chief = page_of(running)
    chief.follow_redirects = False  # to pages that take long to draw
    yield World(site, chief, anybody(running), one_time)
    site.store.close()


def written(world: World, request: Request) -> tuple[Response, Sequence[AuditEntry]]:
    head = audit_chain.head(world.site.store)
    assert head is not None
    answer = request(world)
    return answer, list(audit_search.entries(world.site.store, AuditSearch(), head.id))


def test_every_route_that_changes_something_has_a_line(world):
    routes = {route for route in routes_of(world.chief.app._app.routes) if not route.startswith("GET ")}
    missing = "\n".join(sorted(routes - set(DEEDS)))
    assert missing == "", (
        f"{missing}\nstand not in DEEDS. Add a line: what it writes to the audit trail, and a request that does it"
    )
    assert sorted(set(DEEDS) - routes) == [], "these lines of DEEDS have no route any more: take them out"


def test_every_deed_stands_in_the_trail_with_who_did_it(world):
    wrong = []
    for route, (who, action, request) in DEEDS.items():
        answer, entries = written(world, request)
        named = [
            (e.actor.removeprefix("x (").partition(") by ")[0], e.action) for e in entries
        ]  # facts: who typed them too
        if answer.status_code >= 400 or (who, action) not in named:
            said = [(e.actor, e.action) for e in entries]
            wrong.append(f"{route} answered {answer.status_code} and wrote {said}, not {(who, action)}")
    assert not wrong, "\n".join(wrong)
    assert audit_chain.verify(world.site.store).problem == ""


@pytest.mark.parametrize(("address", "action"), LOOKS.items())
def test_every_look_stands_in_the_trail_with_who_looked(world, address, action):
    answer, entries = written(world, lambda w: w.chief.get(address))
    assert (answer.status_code, [(e.actor, e.action) for e in entries]) == (200, [(EVERYBODY, action)])
