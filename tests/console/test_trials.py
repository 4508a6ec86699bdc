"""Replay and the shadow model on a real store, in a browser and by hand."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.console.axe import violations
from tests.console.browser import Browser, browser
from tests.console.on_store import ADMINISTRATOR, RADIOLOGIST, OnStore
from tests.console.serving import served
from tests.support.deciding import Site
from tests.support.lab import add_studies, uid_of
from tests.support.waiting import wait_until
from triage_node.console import replay as replay_part
from triage_node.console import shadow as shadow_part
from triage_node.console.pages import Room
from triage_node.domain.person import Person
from triage_node.domain.trial import ShadowReading
from triage_node.instances.archive import Archive
from triage_node.processes.running import now
from triage_node.processes.trials.room import GIVEN, replay_deps, shadow_deps
from triage_node.processes.trials.stored import as_stored
from triage_node.store import audit, instances, jobs, results, shadow

ADA = Person("Ada", ADMINISTRATOR)
UID = uid_of(1)
STUDIES = 60


def read_by_both(site: Site, number: int) -> None:
    """Study `number`: the second model agrees but on every twelfth, and one it cannot read."""
    held = results.latest(site.store, uid_of(number))
    probability = (1 - held.probability) if number % 12 == 1 else min(held.probability * 0.9 + 0.03, 1.0)
    reading = ShadowReading(
        held.study_instance_uid, 1, held.created_at, held.probability, held.flagged, held.hematoma_volume_ml,
        "second", "7", "5" * 64, probability, probability >= 0.4, 9.0, 0.4,
    )  # fmt: skip
    if number == 5:
        reading = replace(
            reading, shadow_probability=None, shadow_flagged=None, shadow_volume_ml=None, why_not="no head in the image"
        )
    shadow.save(site.store, reading)


def parts(site: Site) -> tuple[Room, Room]:
    model = site.settings.model.model_copy(update={"shadow_bundle": "second", "replay_bundles": ("third",)})
    settings = site.settings.model_copy(update={"model": model})
    return replay_part.room(replay_deps(site.store, settings)), shadow_part.room(
        shadow_deps(site.store, settings, True)
    )


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnStore]:
    site = Site(Path(tmp_path_factory.mktemp("trials")))
    began = now() - timedelta(days=4)
    bleeding = [
        (i, began + timedelta(hours=1.5 * i), 0.72 + i / 300 if i % 3 == 1 else 0.02 + i / 300) for i in range(STUDIES)
    ]
    add_studies(site.store, bleeding, reading_min=None)
    for number in range(STUDIES):
        read_by_both(site, number)
    for held in instances.of_study(site.store, UID):
        blob = Archive(site.settings.store.data_folder).path(held.sha256)
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.touch()
    answered(site, 0.31)
    yield OnStore(site, ADA)
    site.store.close()


def answered(site: Site, probability: float) -> None:
    """A replay that is done and says something else than was said then."""
    number = jobs.ask(site.store, UID, 1, "Ada", now(), "third", 1)
    assert jobs.claim(site.store, "test", now(), timedelta(minutes=1)).id == number
    then = as_stored(results.latest(site.store, UID))
    said = replace(then, probability=probability, answer="not raised", bundle_name="third", hematoma_volume_ml=0.0)
    jobs.finish(site.store, number, "test", now(), said)


@pytest.fixture
def client(on) -> TestClient:
    on.person = ADA
    return on.client(*parts(on.site))


def test_replay_stands_beside_what_was_said_then_and_is_linked_for_administrators(on, client):
    page = client.get(f"/studies/{UID}/replay").text
    for words in (
        "Another answer: raised then, not raised now.",
        "0.7233",
        "0.3100",
        "Nothing left this node",
        "third",
    ):
        assert words in page, words
    assert f'href="/studies/{UID}/replay"' in client.get(f"/studies/{UID}").text
    on.person = Person("Dr. Lee", RADIOLOGIST)
    assert "/replay" not in client.get(f"/studies/{UID}").text
    assert client.get(f"/studies/{UID}/replay").status_code == 403


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"bundle": "fourth", "policy": "1"}, "none of those that the configuration names"),
        ({"bundle": "third", "policy": "-1"}, "Choose a version"),
        ({"bundle": "third", "policy": "77"}, "no such version"),
    ],
)
def test_replay_that_cannot_be_is_refused_in_words(client, form, words):
    answer = client.post(f"/studies/{UID}/replay", data=form)
    assert answer.status_code == 409
    assert words in answer.text


def test_bug_bundle_comes_in_one_click_and_is_in_the_trail(on, client):
    answer = client.post(f"/studies/{UID}/bug-bundle")
    assert answer.headers["content-type"] == "application/zip"
    assert UID not in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as z:
        assert b"P1" not in z.read("headers.json")
    assert ("Ada", GIVEN) in [(actor, action) for _, actor, action in audit.entries(on.site.store, UID)]


def test_shadow_page_tells_agreement_alarms_and_each_disputed_study(client):
    told = client.get("/api/shadow").json()
    assert told["agreement"]["both_flag"] == 15
    assert told["agreement"]["only_first"] == 5
    assert told["agreement"]["only_second"] == 0
    assert told["agreement"]["neither"] == STUDIES - 1 - 20
    assert told["disputed"] == [uid_of(i) for i in (49, 37, 25, 13, 1)]
    assert told["not_read"] == 1
    page = client.get("/shadow").text
    for words in ("Cohen's kappa <b>0.80</b>", "Disputed: 5", f'href="/studies/{UID}"', "no head in the image"):
        assert words in page, words
    assert "Few studies" not in page


def test_page_without_a_second_model_says_how_to_get_one(on):
    room = shadow_part.room(shadow_deps(on.site.store, on.site.settings, True))
    on.person = ADA
    assert "No second model is configured" in on.client(room).get("/shadow").text


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(on) -> Iterator[str]:
    with served(on.app(*parts(on.site))) as at:
        yield at


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (390, 844)])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("path", ["/shadow", f"/studies/{UID}/replay"])
def test_pages_break_no_rule_of_axe_and_fit_their_window(on, window, address, path, dark, width, height):
    on.person = ADA
    window.look(width, height, dark)
    window.open(address + path)
    assert violations(window) == []
    assert window.script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert [line for line in window.log() if "favicon" not in line] == []


def test_replay_that_is_asked_for_appears_by_itself(on, window, address):
    on.person = ADA
    window.open(f"{address}/studies/{UID}/replay")
    window.script("document.querySelector('.ask button').click()")
    shown = "return document.getElementById('trials').innerText"
    wait_until(lambda: "Waits until the analysis" in window.script(shown), 30, "the replay to wait")
    trial = jobs.claim(on.site.store, "test", now(), timedelta(minutes=1))
    jobs.finish(on.site.store, trial.id, "test", now(), as_stored(results.latest(on.site.store, UID)))
    wait_until(lambda: "The same in everything." in window.script(shown), 30, "the answer to appear")
