"""What a reader does with hands: keys, filter, and saying what was seen, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.console.axe import violations
from tests.console.browser import Browser, browser
from tests.console.on_store import ADMINISTRATOR, RADIOLOGIST, OnStore
from tests.console.sample import ROOT, night
from tests.console.serving import served
from tests.support.deciding import ACTIVE, Site
from tests.support.waiting import wait_until
from triage_node.console import feedback as feedback_part
from triage_node.console import mode as mode_part
from triage_node.console.app import create_app
from triage_node.domain.person import Person
from triage_node.domain.priority import Mode, ReadingState
from triage_node.processes.console.feedback import feedback_deps
from triage_node.processes.console.mode import mode_deps
from triage_node.store import feedback, worklist

STUDY = "1.2.1"
LOOKS = [(w, h, dark) for w, h in ((1366, 768), (390, 844)) for dark in (False, True)]


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def on(tmp_path) -> Iterator[OnStore]:
    site = Site(tmp_path)
    site.arrive(STUDY, "1.2.2")
    site.decide(STUDY)
    site.decide("1.2.2", urgency=None)
    yield OnStore(site, Person("Dr. Lee", RADIOLOGIST | ADMINISTRATOR))
    site.store.close()


@pytest.fixture
def address(on: OnStore) -> Iterator[str]:
    store, settings = on.site.store, on.site.settings
    rooms = feedback_part.room(feedback_deps(store, ACTIVE)), mode_part.room(mode_deps(store, settings))
    with served(on.app(*rooms)) as address:
        yield address


@pytest.fixture(scope="module")
def list_of_forty() -> Iterator[str]:
    with served(create_app(night().deps())) as address:
        yield address


def press(window: Browser, key: str) -> None:
    window.script(
        "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0], bubbles: true, cancelable: true}))",
        key,
    )


def focused(window: Browser) -> str:
    return window.script("return document.activeElement.id")


def state(on: OnStore) -> ReadingState:
    return worklist.row_of(on.site.store, STUDY).row.reading_state


def drawn(window: Browser) -> None:
    """As the viewer tells it, in a page that has none."""
    window.script(
        """
        const viewer = document.getElementById('viewer') ?? Object.assign(document.createElement('div'), { id: 'viewer' });
        viewer.addEventListener('drawn', shown);
        viewer.dispatchEvent(new CustomEvent('drawn', { detail: { slice: 0, ms: 3 } }));
        """
    )


def test_the_list_is_walked_with_keys_alone(window, list_of_forty):
    window.look(1366, 768, False)
    window.open(list_of_forty)
    order = window.script("return [...document.querySelectorAll('a.reason')].map(a => a.id)")
    walked = []
    for key in "jjjk":
        press(window, key)
        walked.append(focused(window))
    assert walked == [order[0], order[1], order[2], order[1]]
    press(window, "/")
    assert focused(window) == "filter-q"
    press(window, "j")
    assert focused(window) == "filter-q", "whoever types is left alone"
    press(window, "Escape")
    press(window, "?")
    assert window.script("return document.getElementById('keys-help').open") is True
    assert {"j", "k", "/", "?"} <= set(
        window.script("return [...document.querySelectorAll('#keys-help dt')].map(d => d.textContent)")
    )
    assert violations(window) == []
    # a screen reader and dictation have letters of their own
    window.script("document.getElementById('keys-on').click(); document.getElementById('keys-help').close()")
    window.script("document.activeElement.blur()")
    press(window, "j")
    assert focused(window) == ""
    press(window, "?")
    window.script("document.getElementById('keys-on').click(); document.getElementById('keys-help').close()")
    wait_until(lambda: focused(window) == "", 30, "the closed dialog to give the focus back")
    press(window, "j")
    assert focused(window) == order[0]
    window.script("document.activeElement.click()")
    wait_until(lambda: "/studies/" in window.script("return location.pathname"), 30, "the study to open")
    assert window.log() == []


def test_a_filter_stands_in_the_address_and_comes_back_from_a_study(window, list_of_forty):
    window.open(list_of_forty)
    window.script(
        """
        document.getElementById('filter').open = true;
        const box = document.getElementById('filter-class');
        box.focus(); box.value = 'STAT'; box.dispatchEvent(new Event('input', { bubbles: true }));
        """
    )
    rows = "return [...document.querySelectorAll('[data-key] > .class, .next .class')].map(c => c.textContent)"
    wait_until(lambda: set(window.script(rows)) == {"STAT"}, 30, "the list to be narrowed")
    assert window.script("return location.search") == "?class=STAT"
    assert window.script("return document.getElementById('filter-ae').value") == "", "nothing else was narrowed"
    assert focused(window) == "filter-class"
    assert "36 studies are not shown, 7 of them flagged" in window.script(
        "return document.getElementById('filter-summary').textContent"
    )
    window.open(f"{list_of_forty}/studies/{ROOT}1003")
    assert window.script("return document.querySelector('a.back').getAttribute('href')") == "/?class=STAT"
    window.open(list_of_forty + "/?class=STAT&q=failed")
    assert set(window.script(rows)) == {"STAT"}
    assert window.script("return document.getElementById('filter-q').value") == "failed"
    assert window.log() == []


def test_one_key_says_each_thing_without_leaving_the_page(window, on, address):
    window.open(f"{address}/studies/{STUDY}")
    window.script("window.notReloaded = true")
    press(window, "b")
    wait_until(lambda: state(on) is ReadingState.BEING_READ, 30, "the claim")
    wait_until(
        lambda: window.script("return document.getElementById('act-released') !== null"), 30, "the button to turn"
    )
    press(window, "z")
    wait_until(lambda: state(on) is ReadingState.WAITING, 30, "the claim to be taken back")
    wait_until(lambda: window.script("return document.getElementById('act-being-read') !== null"), 30, "the button")
    press(window, "d")
    assert window.script("return document.getElementById('act-disagree').disabled") is True
    assert feedback.verdicts(on.site.store, worklist.row_of(on.site.store, STUDY).row.arrived_at) == {}
    drawn(window)
    wait_until(
        lambda: window.script("return document.getElementById('act-disagree').disabled") is False,
        30,
        "the button to open",
    )
    window.script("document.getElementById('feedback-subtype').value = 'sdh'")
    press(window, "d")
    wait_until(lambda: worklist.row_of(on.site.store, STUDY).row.flag is None, 30, "the flag to end")
    wait_until(lambda: window.script("return document.getElementById('act-undo') !== null"), 30, "the way back")
    assert feedback.of_study(on.site.store, STUDY)[-1].subtype == "sdh"
    said = "return document.getElementById('feedback-status').textContent"
    assert window.script(said) == "Stored: disagree."
    press(window, "z")
    wait_until(lambda: worklist.row_of(on.site.store, STUDY).row.flag is not None, 30, "the flag to stand again")
    for key, verdict in (("a", "agree"), ("u", "uncertain")):
        press(window, key)
        wait_until(lambda v=verdict: window.script(said) == f"Stored: {v}.", 30, f"{verdict} to be stored")
    press(window, "r")
    wait_until(lambda: state(on) is ReadingState.READ, 30, "the reading")
    assert window.script("return window.notReloaded") is True
    assert window.log() == []


def test_the_pause_in_the_bar_is_one_press_and_open_lists_follow(window, on, address):
    window.open(address)
    window.script("document.querySelector('.pause').click()")
    wait_until(lambda: window.script("return location.pathname") == "/mode", 30, "the page that asks why")
    on.mode = Mode.OBSERVE
    assert "Why did you pause it?" in window.script("return document.querySelector('main').textContent")
    window.open(address)
    assert window.script("return document.querySelector('.mode').textContent") == "Observepaused by Dr. Lee"


@pytest.mark.parametrize(("width", "height", "dark"), LOOKS)
def test_the_reading_form_the_filter_and_the_mode_break_no_rule_of_axe(window, on, address, width, height, dark):
    window.look(width, height, dark)
    for path in ("/?class=STAT", "/mode", f"/studies/{STUDY}"):
        window.open(address + path)
        assert violations(window) == [], path
        assert window.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
