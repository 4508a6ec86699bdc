"""A reader, a program and a workstation of one hospital ask its node for what is another's, in the same database."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import Dataset
from starlette.routing import Route

from tests.console.test_web_process import arrive, raise_flag
from tests.support.pacs import postgres
from tests.support.people import anybody, bearer, cookie, page_of
from tests.support.region import as_login, shared_database
from triage_node.blobs.opened import open_blobs
from triage_node.config.schema import Settings
from triage_node.console.app import create_app
from triage_node.domain.finding import OperatingPoint
from triage_node.processes.gateway import workitem_service
from triage_node.processes.running import Running, now
from triage_node.processes.web import console_deps, rooms
from triage_node.store import audit, jobs, meta, policy
from triage_node.store.engine import open_store

THEIRS = "1.2.840.77"
SECRET = "SECRETNAME"


@dataclass(frozen=True, slots=True)
class Hospital:
    running: Running
    paths: tuple[str, ...]
    token: dict[str, str]


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hospital, Hospital]]:
    """Alpha has a flagged study, a trial and entries in its trail; beta has nothing. Each has a token of its own."""
    folder = tmp_path_factory.mktemp("region")
    with postgres(folder) as server:
        url = shared_database(server, ("alpha", "beta"))
        made = tuple(hospital(folder, url, name) for name in ("alpha", "beta"))
        store = made[0].running.store
        arrive(store, THEIRS, name=f"{SECRET}^JANE")
        raise_flag(store, THEIRS)
        with store.write() as c:
            audit.record(c, now(), SECRET, "looked", THEIRS)
        jobs.ask(store, THEIRS, 1, SECRET, now(), "bloodnet", 1)
        workitem_service(made[0].running).follow()
        yield made
        for one in made:
            one.running.store.close()


def hospital(folder: Path, url: str, name: str) -> Hospital:
    data = folder / name
    data.mkdir()
    (folder / "blobs" / name).mkdir(parents=True)
    settings = Settings.model_validate(
        {
            "store": {
                "tenant": name,
                "database_url": as_login(url, f"tenant_{name}"),
                "data_folder": data,
                "blob_url": f"file://{folder / 'blobs'}",
            }
        }
    )
    store = open_store(settings.database_url, settings.store.tenant)
    meta.set_simulation(store, True)
    policy.add(store, [OperatingPoint("ich", 0.3, 0.6, 0)], "test", "first", now())
    running = Running("web", settings, store, threading.Event())
    app = create_app(console_deps(running), rooms(running))
    routers = [getattr(held, "original_router", app) for held in app.routes]
    routes = {r.path: r.methods for router in routers for r in router.routes if isinstance(r, Route)}
    paths = tuple(
        path for path, methods in routes.items() if "GET" in methods and path != "/events"
    )  # that one never ends
    return Hospital(running, paths, bearer(store, f"program of {name}".replace(" ", "-")))


def asked_for(path: str) -> str:
    """The route with what a guesser would put in: the other hospital's study and instance, a program's name, the lowest number."""
    known = {
        "study_instance_uid": THEIRS,
        "study": THEIRS,
        "sop_instance_uid": f"{THEIRS}.1.1",
        "name": "program-of-alpha",
    }
    return re.sub(r"\{([^}:]*)[^}]*\}", lambda found: known.get(found[1], "1"), path)


def test_no_page_and_no_answer_of_the_api_tells_of_another_hospital(hospitals):
    alpha, beta = hospitals
    told = {True: 0, False: 0}
    for one in (alpha, beta):
        reader = page_of(one.running)
        for path in one.paths if one is beta else [p for p in one.paths if p.startswith(("/api/", "/studies/"))]:
            answer = reader.get(asked_for(path), params={"q": THEIRS, "subject": THEIRS, "study": THEIRS})
            held = SECRET in answer.text or f"{THEIRS}.1" in answer.text
            told[one is alpha] += held
            assert not (held and one is beta), path
    assert told[True] >= 3, "the walk finds alpha's own study at alpha"
    assert told[False] == 0


def test_a_token_and_a_session_of_one_hospital_open_nothing_at_another(hospitals):
    alpha, beta = hospitals
    assert anybody(alpha.running).get("/api/worklist", headers=alpha.token).status_code == 200
    stranger = anybody(beta.running)
    assert stranger.get("/api/worklist", headers=alpha.token).status_code == 401
    assert stranger.get("/api/worklist", headers=beta.token).json()["rows"] == []
    stranger.cookies = cookie(alpha.running.store)
    assert stranger.get("/api/worklist").status_code == 401


def test_what_happens_at_one_hospital_is_no_event_at_another(hospitals):
    alpha, beta = hospitals
    before = meta.list_version(beta.running.store)
    with alpha.running.store.write() as c:
        meta.touch_list(c)
    assert meta.list_version(beta.running.store) == before


def test_a_workstation_of_another_hospital_finds_no_workitem(hospitals):
    alpha, beta = hospitals
    items = [workitem_service(one.running).find(Dataset())[1] for one in hospitals]
    assert [len(found) for found in items] == [1, 0]


def test_bytes_of_another_hospital_are_not_to_be_had_by_their_hash(hospitals):
    alpha, beta = (open_blobs(one.running.settings.store) for one in hospitals)
    sha256 = alpha.received.keep(b"pixels of alpha")
    assert alpha.received.has(sha256)
    assert not beta.received.has(sha256)
    assert list(beta.received.digests()) == []
