"""The slices as a reader's browser draws them, from a study that went the way of analysis."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC

import numpy as np
import pytest

from tests.console.axe import violations
from tests.console.browser import Browser, browser
from tests.console.on_store import ADMINISTRATOR, READER, OnStore
from tests.console.serving import served
from tests.journeys import modality
from tests.support.analysed import analysis, receive, settings_in
from tests.support.waiting import wait_until
from triage_node.blobs.opened import open_blobs
from triage_node.console import viewer
from triage_node.domain.clinical import ClinicalEntry
from triage_node.domain.person import Person
from triage_node.domain.priority import Mode
from triage_node.domain.volume import Volume
from triage_node.processes import clinical
from triage_node.processes.analysis import Analysis
from triage_node.processes.console.viewer import viewer_deps
from triage_node.processes.running import now
from triage_node.processes.wiring import built_folder
from triage_node.store import results

SLICES, SIDE, KEY = 24, 128, 12


class Shown:
    """One analysed study behind a page, and the volume that analysis saw."""

    def __init__(self, role: Analysis, sent: modality.Sent) -> None:
        seen: list[Volume] = []
        detect = role.detector.detect
        role.detector.detect = lambda volume: seen.append(volume) or detect(volume)  # type: ignore[method-assign]
        self.role, self.uid = role, receive(role, sent.files)
        assert role.work()
        while role.displays.explain():
            pass
        self.volume = seen[0]
        self.page = OnStore(role)  # type: ignore[arg-type]

    def reader(self, mode: Mode = Mode.ACTIVE, person: Person | None = None) -> None:
        self.page.mode, self.page.person = mode, person or Person("Dr. Lee", READER)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("viewer")
    sent = modality.phantom(folder, "seen", modality.now(), seed=9073, slices=SLICES, thickness_mm=6.0, size=SIDE)
    with analysis(settings_in(folder / "site")) as role:
        yield Shown(role, sent)


@pytest.fixture(scope="module")
def address(shown: Shown) -> Iterator[str]:
    role = shown.role
    room = viewer.room(viewer_deps(role.store, open_blobs(role.settings.store), built_folder(role.settings)))
    with served(shown.page.app(room)) as at:
        yield f"{at}/studies/{shown.uid}"


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def page(window: Browser, address: str, shown: Shown) -> Browser:
    """The study's page with every slice in its memory."""
    shown.reader()
    window.look(1366, 768, dark=True)
    window.open(address)
    wait_until(lambda: window.script("return performance.getEntriesByName('first-slice').length") == 1, 60, "a slice")
    wait_until(lambda: fetched(window) >= SLICES, 60, "every slice to be fetched")
    window.script(
        "window.drawn = []; document.getElementById('viewer').addEventListener('drawn', e => drawn.push(e.detail.slice))"
    )
    return window


def complaints(window: Browser) -> list[str]:
    """Without what the browser says of this test's own reading of the canvas."""
    return [line for line in window.log() if "willReadFrequently" not in line]


def fetched(window: Browser) -> int:
    return window.script(
        "return performance.getEntriesByType('resource').filter(e => e.name.includes('/slices/')).length"
    )


def words(window: Browser, name: str) -> str:
    return window.script(f"return document.getElementById('{name}')?.textContent ?? ''")


def is_hidden(window: Browser, name: str) -> bool:
    return window.script(f"return document.getElementById('{name}').hidden")


def at_slice(window: Browser, number: int) -> None:
    wait_until(lambda: words(window, "slice-words") == f"slice {number} of {SLICES}", 60, f"slice {number} to be drawn")


def press(window: Browser, key: str, on: str = "document.body") -> None:
    window.script(
        f"({on}).dispatchEvent(new KeyboardEvent('keydown', {{key: arguments[0], bubbles: true, cancelable: true}}))",
        key,
    )


def greys(window: Browser) -> np.ndarray:
    drawn = window.script(
        f"""const data = document.getElementById('pixels').getContext('2d').getImageData(0, 0, {SIDE}, {SIDE}).data;
        return [...data].filter((_, i) => i % 4 === 0);"""
    )
    return np.array(drawn).reshape(SIDE, SIDE)


def expected(hu: np.ndarray, width: float, level: float) -> np.ndarray:
    """PS3.3 C.11.2.1.2.1, the linear VOI function."""
    return np.clip(((hu.clip(-1024, 3071) - (level - 0.5)) / (width - 1) + 0.5) * 255, 0, 255)


@pytest.mark.parametrize(("key", "width", "level"), [("1", 80, 40), ("2", 200, 75), ("3", 2500, 480)])
def test_a_window_shows_the_greys_of_the_standard(page, shown, key, width, level):
    at_slice(page, KEY + 1)
    press(page, key)
    wait_until(lambda: words(page, "window-words") == f"W {width} L {level}", 60, "the window")
    wait_until(lambda: np.abs(greys(page) - expected(shown.volume.hu[KEY], width, level)).max() <= 1, 60, "its greys")
    assert (
        page.script(f"return document.querySelectorAll('[data-window]')[{int(key) - 1}].getAttribute('aria-pressed')")
        == "true"
    )


def test_scrolling_and_windowing_ask_the_node_for_nothing_once_slices_are_there(page, shown):
    wait_until(lambda: fetched(page) == SLICES + 1, 60, "slices and the one with marks")
    before = page.script("return performance.getEntriesByType('resource').length")
    for k in range(SLICES):
        page.script(
            "const s = document.getElementById('slice'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))",
            k + 1,
        )
        at_slice(page, k + 1)
    press(page, "3")
    wait_until(lambda: words(page, "window-words") == "W 2500 L 480", 60, "the bone window")
    wait_until(lambda: np.abs(greys(page) - expected(shown.volume.hu[-1], 2500, 480)).max() <= 1, 60, "its greys")
    assert list(dict.fromkeys(page.script("return drawn")))[-SLICES:] == list(range(SLICES))
    assert page.script("return performance.getEntriesByType('resource').length") == before
    assert complaints(page) == []


def test_keys_wheel_and_mouse_move_through_slices_and_windows(page):
    stage = "document.getElementById('stage')"
    for key, on, number in (
        ("Home", stage, 1),
        ("j", "document.body", 2),
        ("ArrowDown", stage, 3),
        ("PageDown", stage, 8),
        ("k", "document.body", 7),
        ("End", stage, SLICES),
        ("f", "document.body", KEY + 1),
    ):
        press(page, key, on)
        at_slice(page, number)
    press(page, "ArrowDown")  # without the focus on the slices it scrolls the page
    page.script(f"{stage}.dispatchEvent(new WheelEvent('wheel', {{deltaY: 100, cancelable: true}}))")
    at_slice(page, KEY + 3)
    page.script(
        f"""const drag = (name, x, y) => {stage}.dispatchEvent(new PointerEvent(name,
            {{pointerId: 1, button: 2, clientX: x, clientY: y, pointerType: 'mouse'}}));
        {stage}.setPointerCapture = () => {{}};
        drag('pointerdown', 100, 100); drag('pointermove', 200, 140); drag('pointerup', 200, 140);"""
    )
    wait_until(
        lambda: words(page, "window-words") == f"W {round(80 * 1.006**100)} L 50", 60, "the window to follow the mouse"
    )
    press(page, "w")
    wait_until(lambda: words(page, "window-words") == "W 80 L 40", 60, "a preset again")
    assert complaints(page) == []


OVERLAY = f"""
const o = document.getElementById('overlay');
const data = o.getContext('2d').getImageData(0, 0, {SIDE}, {SIDE}).data;
return o.hidden ? [] : [...data].flatMap((a, i) => i % 4 === 3 && a ? [(i - 3) / 4] : []);
"""


def test_the_overlay_lies_where_the_mask_is_and_goes_on_one_key(page, shown):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[SIDE // 2 : SIDE // 2 + 9, SIDE // 2 : SIDE // 2 + 9] = True  # tests.support.analysed.Painted
    there = list(np.flatnonzero(mask))
    wait_until(lambda: page.script(OVERLAY) == there, 60, "the mask")
    page.script("const o = document.getElementById('opacity'); o.value = 25; o.dispatchEvent(new Event('input'))")
    assert page.script("return getComputedStyle(document.getElementById('overlay')).opacity") == "0.25"
    press(page, "j")
    at_slice(page, KEY + 2)
    assert page.script(OVERLAY) == []
    assert words(page, "found-words") == "This slice: score 0.97, nothing is marked."
    press(page, "f")
    wait_until(lambda: page.script(OVERLAY) == there, 60, "the mask again")
    press(page, "o")
    wait_until(lambda: page.script(OVERLAY) == [], 60, "the overlay to go")


def test_every_map_can_be_chosen_and_says_what_it_is(page):
    maps = page.script("return [...document.getElementById('layer').options].map(o => [o.value, o.label])")
    assert [label for _, label in maps[:2]] == ["mask", "probability of blood"]
    assert any(label == "Grad-CAM: intracranial hemorrhage" for _, label in maps)
    assert any(label.endswith("(multitask_prognosis)") for _, label in maps)
    for value, _ in maps[2:]:
        page.script(
            "const l = document.getElementById('layer'); l.value = arguments[0]; l.dispatchEvent(new Event('input'))",
            value,
        )
        wait_until(lambda: "fetched" not in words(page, "found-words"), 60, "the map")
        assert "what it used, not what is true" in words(page, "layer-words")
    drawn = page.script(
        "return JSON.parse(document.getElementById('viewer').dataset.viewer).found.maps.map(m => m.of_slice)"
    )
    assert all(len(of_slice) == SLICES for of_slice in drawn)
    assert complaints(page) == []


def test_a_click_on_the_strip_goes_to_its_slice(page):
    assert page.script("return document.querySelectorAll('#strip rect').length") == SLICES + 1
    page.script(
        f"""const box = document.getElementById('strip').getBoundingClientRect();
        document.getElementById('strip').dispatchEvent(new MouseEvent('click', {{clientX: box.left + box.width * 3.5 / {SLICES}}}));"""
    )
    at_slice(page, 4)
    assert words(page, "place-words").endswith(" mm, 6.0 mm thick")
    assert page.script("return document.getElementById('pixels').getAttribute('aria-label')") == (
        f"CT of the head. Slice 4 of {SLICES}, score 0.97, nothing is marked"
    )


def test_a_reader_in_observe_mode_sees_slices_and_nothing_that_betrays_a_flag(window, address, shown):
    shown.reader(Mode.OBSERVE)
    window.open(address)
    at_slice(window, SLICES // 2 + 1)
    wait_until(lambda: fetched(window) == SLICES, 60, "every slice")
    assert is_hidden(window, "found")
    assert is_hidden(window, "not-analysed")
    assert window.script("return document.querySelectorAll('#strip *').length") == 0
    assert "score" not in window.script("return document.getElementById('pixels').getAttribute('aria-label')")
    shown.reader(Mode.OBSERVE, Person("Dr. Admin", ADMINISTRATOR))
    window.open(address)
    at_slice(window, KEY + 1)
    assert not is_hidden(window, "found")


@pytest.mark.parametrize(
    ("leads_to", "gone"), [("other/", True), ("../../../static/page.css?", False)], ids=["read again", "a login"]
)
def test_an_answer_that_is_no_slice_is_never_drawn(page, shown, leads_to, gone):
    page.script(
        f"""window.told = null;
        const said = {{address: '/studies/{shown.uid}/slices/' + arguments[0], positions: [0], rows: {SIDE}, columns: {SIDE}}};
        const slices = new Slices(said, (index, failed) => told = [failed, slices.gone, slices.pixels.size]);
        slices.want(0);""",
        leads_to,
    )
    assert wait_until(lambda: page.script("return told"), 60, "the answer") == [True, gone, 0]


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (390, 844)])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_breaks_no_rule_and_shows_a_slice_in_the_first_screen(page, width, height, dark):
    page.look(width, height, dark)
    assert violations(page) == []
    seen = page.script(
        """const box = document.getElementById('stage').getBoundingClientRect();
        return {top: box.top, height: box.height, ratio: box.width / box.height,
                over: document.documentElement.scrollWidth - document.documentElement.clientWidth}"""
    )
    assert seen["top"] + seen["height"] / 2 < height
    assert seen["ratio"] == pytest.approx(1, abs=0.01)
    assert seen["over"] <= 0


def test_the_prognosis_comes_by_itself_once_facts_are_taken_in(page, shown):
    uid, store = shown.uid, shown.role.store
    assert results.latest(store, uid).flagged
    clinical.take_in(store, UTC, uid, ClinicalEntry(gcs=14), "Dr. Lee", "form", 0, now())
    page.script("location.reload()")
    wait_until(lambda: "are being taken in" in words(page, "prognosis"), 60, "the page to say that facts wait")
    page.script("window.notReloaded = true")
    assert shown.role.restate()
    wait_until(lambda: "are being taken in" not in words(page, "prognosis"), 60, "the prognosis with the facts")
    assert "GCS: 14" in words(page, "prognosis")
    assert page.script("return window.notReloaded") is True
    assert words(page, "prognosis-said") == "The prognosis takes in the facts now."
