"""No page breaks a rule of axe-core, in light and dark, at the width of a workstation and of a phone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.console.axe import violations
from tests.console.browser import Browser, browser
from tests.console.sample import ROOT, night
from tests.console.serving import served
from triage_node.console.app import create_app


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(create_app(night(simulation=True).deps())) as address:
        yield address


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (390, 844)])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("path", ["/", f"/studies/{ROOT}1001", f"/studies/{ROOT}1004", "/nowhere"])
def test_no_page_breaks_a_rule_of_axe(window, address, path, dark, width, height):
    window.look(width, height, dark)
    window.open(address + path)
    assert violations(window) == []


def test_the_harness_finds_what_is_wrong(window, address):
    window.open(address + "/nowhere")
    window.script("document.querySelector('main').innerHTML += '<img src=\"/static/mark.svg\"><button></button>'")
    found = violations(window)
    assert [line.split(" ")[0] for line in found] == ["button-name", "image-alt"]
