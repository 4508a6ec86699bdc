"""The threshold lab in a real browser: moving a slider replays at once, and every look of the page keeps axe's rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.console.axe import violations
from tests.console.browser import Browser, browser
from tests.console.sample import night
from tests.console.serving import served
from tests.support.lab import lab_store, tell_truth
from tests.support.waiting import wait_until
from triage_node.console import lab
from triage_node.console.app import create_app
from triage_node.domain.finding import OperatingPoint
from triage_node.domain.person import Person, Role
from triage_node.domain.policy import Scope, ScopedPoint
from triage_node.processes.console.lab import lab_deps
from triage_node.processes.running import now
from triage_node.store import drafts, policy

LOWER = OperatingPoint("ich", 0.3, 0.8, 0, 0.2)
OWN = ScopedPoint(Scope("ACME CT9", "H31s"), OperatingPoint("ich", 0.6, 0.9, 0))


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """60 studies with truth, a policy that was replaced once, a draft of somebody else in shadow."""
    store, settings = lab_store(tmp_path_factory.mktemp("lab"), now(), 60)
    tell_truth(store, range(60), now())
    policy.add(store, [LOWER], "two people", "too many misses", now() - timedelta(days=1))
    number = drafts.add(store, [LOWER], (OWN,), "bea", "a noisy scanner", now(), 2)
    drafts.switch_shadow(store, number, True, "bea", now())
    ann = Person("ann", frozenset({Role.ADMINISTRATOR}))
    beats = ("ingest", "analysis", "scheduler")
    deps = replace(
        night(simulation=True).deps(),
        now=now,
        person_of=lambda request: ann,
        heartbeats=lambda: dict.fromkeys(beats, now()),
    )
    with served(create_app(deps, (lab.room(lab_deps(store, settings, True)),))) as url:
        yield url
    store.close()


def test_moving_a_slider_replays_at_once_and_keeps_focus_and_address(window, address):
    window.look(1366, 768, False)
    window.open(address + "/lab")
    window.log()
    before = window.script("return document.getElementById('changed').textContent")
    assert before.endswith(": 0")
    window.script(
        """
        const slider = document.querySelector('[data-for="ich.raise"]');
        slider.focus();
        slider.value = 0.6;
        slider.dispatchEvent(new Event('input', { bubbles: true }));
        """
    )
    changed = "return document.getElementById('changed').textContent"
    wait_until(lambda: window.script(changed) != before, 60, "the replay to come")
    assert window.script("return document.getElementById('ich.raise').value") == "0.6"
    assert window.script("return document.activeElement.dataset.for") == "ich.raise"
    assert "ich.raise=0.6" in window.script("return location.search")
    rows = "return document.querySelectorAll('#replay .long tbody tr').length"
    assert window.script(rows) == int(window.script(changed).rpartition(" ")[2]) > 0
    said = window.script("return document.getElementById('said').textContent")
    assert said.startswith("False alarms a day: ")
    assert f" {window.script(rows)} studies change side." in said
    link = "return document.querySelector('#replay .long a').getAttribute('href')"
    assert window.script(link).startswith("/studies/1.2.826")
    # the queue follows once the slider rests
    wait_until(
        lambda: window.script(
            "return !document.querySelector('#queue [aria-busy]') && !document.querySelector('[aria-busy]')"
        ),
        120,
        "the queue to come",
    )
    assert window.log() == []


def test_what_cannot_be_is_said_beside_the_last_replay_that_could(window, address):
    window.look(1366, 768, False)
    window.open(address + "/lab")
    window.script(
        """
        const number = document.getElementById('ich.raise');
        number.value = '0.95';
        number.dispatchEvent(new Event('input', { bubbles: true }));
        """
    )
    said = "return document.getElementById('said').textContent"
    wait_until(lambda: "follow one another" in window.script(said), 60, "the reason to be said")
    assert window.script("return document.querySelectorAll('#replay .compared').length") == 1


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (390, 844)])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(
    "path",
    ["/lab?ich.raise=0.5&ich.notify=0.8&other_per_hour=3&readers=1&sdh.raise=0.4&sdh.notify=0.6", "/lab/drafts/1"],
)
def test_no_look_of_the_lab_breaks_a_rule_of_axe_or_is_wider_than_the_screen(
    window, address, path, dark, width, height
):
    window.look(width, height, dark)
    window.open(address + path)
    assert violations(window) == []
    assert window.script("return document.documentElement.scrollWidth") <= width
