"""The list as a reader's browser draws it: live, without errors, and with the next study in the first screen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.console.browser import Browser, browser
from tests.console.sample import ROOT, SampleNode, ago, flag, night
from tests.console.serving import served
from tests.support.waiting import wait_until
from triage_node.console.app import create_app
from triage_node.domain.priority import Mode, ReadingState, Urgency

SAH = f"{ROOT}1001"
LOOKS = [(w, h, dark) for w, h in ((1366, 768), (390, 844)) for dark in (False, True)]


@pytest.fixture(scope="module")
def one_browser() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def window(one_browser: Browser) -> Browser:
    """On a blank page: that of the test before asks for its events still, of a server that is gone."""
    one_browser.open("about:blank")
    one_browser.log()
    return one_browser


def first_headline(window: Browser) -> str:
    return window.script("return document.querySelector('.next .reason')?.textContent ?? ''")


def is_listening(node: SampleNode) -> bool:
    return node.list_version_calls > 0


def test_a_new_flag_comes_to_the_top_without_a_reload(window):
    node = night()
    with served(create_app(node.deps())) as address:
        window.open(address)
        window.script(
            "window.notReloaded = true; document.getElementById('open-' + arguments[0]).focus()", f"{ROOT}1003"
        )
        assert first_headline(window) == "Suspected SAH, 34 mL, very likely"
        wait_until(lambda: is_listening(node), 30, "the page to listen")
        uid = node.add(minutes=2, flag=flag(Urgency.CRITICAL, "Suspected IVH, 12 mL, likely", 0), name="NEW, PATIENT")
        node.change(uid, arrived_at=ago(400))
        wait_until(lambda: first_headline(window) == "Suspected IVH, 12 mL, likely", 30, "the new flag on top")
        assert window.script("return window.notReloaded") is True
        assert window.script("return document.activeElement.id") == f"open-{ROOT}1003"
        assert window.script("return document.title") == "(5) Reading list · Triage Node"
        assert window.script("return document.getElementById('announce').textContent") == (
            "Read next: Suspected IVH, 12 mL, likely"
        )
        assert window.log() == []


@pytest.mark.parametrize("path", ["/", "/?view=would-move", f"/studies/{SAH}", f"/studies/{ROOT}1004"])
def test_no_page_makes_the_browser_complain(window, path):
    with served(create_app(night(Mode.OBSERVE, simulation=True).deps())) as address:
        window.open(address + path)
        fonts = "return document.fonts.ready.then(f => [...f].filter(x => x.status === 'loaded').length)"
        assert window.script(fonts) > 0
        assert window.log() == []


def test_hostile_text_runs_nothing(window):
    node = SampleNode(policy=night().policy)
    hostile = "<img src=x onerror='window.owned=1'><script>window.owned=1</script>"
    uid = node.add(name=hostile, description=hostile, flag=flag(Urgency.HIGH, hostile, 1), status_words=hostile)
    with served(create_app(node.deps())) as address:
        for path in ("/", f"/studies/{uid}"):
            window.open(address + path)
            assert window.script("return window.owned ?? null") is None
            assert window.script("return document.querySelector('main img')") is None
            assert "<img src=x" in window.script("return document.querySelector('main').textContent")
            assert window.log() == []


def test_a_script_that_slipped_in_would_be_refused(window):
    """That the policy is in force, not only sent."""
    with served(create_app(night().deps())) as address:
        window.open(address)
        window.script(
            "const s = document.createElement('script'); s.textContent = 'window.owned = 1'; document.body.append(s)"
        )
        assert window.script("return window.owned ?? null") is None
        assert any("Content Security Policy" in line for line in window.log())


def test_a_page_that_loses_the_node_says_since_when_and_comes_back(window):
    node = night()
    app = create_app(node.deps())
    shown = "return !document.getElementById('cut-off').hidden"
    with served(app) as address:
        window.open(address)
        wait_until(lambda: is_listening(node), 30, "the page to listen")
        assert window.script(shown) is False
    port = int(address.rsplit(":", 1)[1])
    wait_until(lambda: window.script(shown), 30, "the page to say that it is cut off")
    assert "Not current since 03:12." in window.script("return document.getElementById('cut-off').textContent")
    assert window.script("return document.querySelector('.pulse').textContent.trim()") == "Not current"
    window.log()
    with served(create_app(node.deps()), port=port):
        wait_until(lambda: not window.script(shown), 30, "the page to come back")


def one_flag_among_forty() -> SampleNode:
    """The same night with a single flag."""
    node = night()
    for uid, row in node.rows.items():
        if row.flag is not None and uid != SAH:
            node.change(uid, flag=None, live=True, reading_state=ReadingState.WAITING)
    return node


@pytest.mark.parametrize(("width", "height", "dark"), LOOKS)
@pytest.mark.parametrize(("made", "other_flags"), [(night, 6), (one_flag_among_forty, 0)])
def test_the_next_study_is_grasped_at_first_sight(window, made, other_flags, width, height, dark):
    """40 rows: next study, its reason and its wait lie in the first screen and are the largest text, and no row without a flag
    bears the flag's sign: with one flag no other row does; see issue 10."""
    node = made()
    with served(create_app(node.deps())) as address:
        window.look(width, height, dark)
        window.open(address)
        seen = window.script(
            """
            const size = e => parseFloat(getComputedStyle(e).fontSize);
            const next = document.querySelector('.next');
            const parts = [next.querySelector('.reason'), next.querySelector('.label'), next.querySelector('.wait b')];
            const others = [...document.querySelectorAll('main .row *, .group h2, .bar *, footer *')];
            const flagSigns = [...document.querySelectorAll('main .row .sign use')]
                .filter(u => ['#i-critical', '#i-high', '#i-moderate'].includes(u.getAttribute('href')));
            return {
                bottoms: parts.map(p => p.getBoundingClientRect().bottom),
                smallest: Math.min(...parts.map(size)),
                reason: size(parts[0]),
                largestOther: Math.max(...others.filter(o => o.closest('.row, .group, footer')).map(size)),
                overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
                bearing: flagSigns.map(u => u.closest('.row').dataset.key),
                nextBears: next.querySelector('.sign use').getAttribute('href'),
                rows: document.querySelectorAll('main .row').length,
                dark: matchMedia('(prefers-color-scheme: dark)').matches,
            };
            """
        )
        assert seen["dark"] is dark
        assert seen["rows"] >= 39
        assert all(bottom <= height for bottom in seen["bottoms"]), seen
        assert seen["smallest"] > seen["largestOther"], seen
        assert seen["reason"] >= 1.4 * seen["largestOther"]
        assert seen["overflow"] <= 0
        assert seen["nextBears"] == "#i-critical"
        flagged = {uid for uid, row in node.rows.items() if row.flag is not None} - {SAH}
        assert len(flagged) == other_flags
        assert set(seen["bearing"]) <= flagged


@pytest.mark.parametrize(("width", "height", "dark"), LOOKS)
@pytest.mark.parametrize("path", ["/", f"/studies/{SAH}"])
def test_text_stands_out_from_its_ground(window, width, height, dark, path):
    """WCAG 2.2 contrast, 4.5 to 1, of every text on the colour below it."""
    with served(create_app(night(simulation=True).deps())) as address:
        window.look(width, height, dark)
        window.open(address + path)
        weak = window.script(_CONTRAST)
        assert weak == []


_CONTRAST = """
const rgb = c => c.match(/[\\d.]+/g).map(Number);
const channel = v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
const ground = e => {
    for (; e; e = e.parentElement) {
        const c = rgb(getComputedStyle(e).backgroundColor);
        if (c.length === 3 || c[3] === 1) return c;
        if (getComputedStyle(e).backgroundImage !== 'none') return null;
    }
    return [255, 255, 255];
};
const weak = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let t = walker.nextNode(); t; t = walker.nextNode()) {
    const e = t.parentElement;
    if (!t.textContent.trim() || e.closest('[hidden], .sprite, noscript, .visually-hidden')) continue;
    const below = ground(e);
    if (below === null) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(below)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) weak.push(`${t.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
}
return weak;
"""
