"""What deploy/reader-test.md says of each look is so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.console.looks import LOOKS
from tests.console.sample import NOW
from triage_node.console.rows import Sign, list_view

SCRIPT = (Path(__file__).parents[2] / "deploy" / "reader-test.md").read_text("utf-8")
SIGNS = {
    1: Sign.CRITICAL,
    2: Sign.CRITICAL,
    3: Sign.ANALYSED,
    4: Sign.HIGH,
    5: Sign.NOT_ANALYSED,
    6: Sign.CRITICAL,
    7: Sign.NOT_ANALYSED,
    8: Sign.CRITICAL,
}


@pytest.mark.parametrize("look", list(LOOKS))
def test_each_look_has_the_next_study_that_the_script_asks_for(look):
    made, first = LOOKS[look]
    node = made()
    view = list_view(node.reading_list(NOW, False), NOW)
    assert (view.first.uid, view.first.sign) == (first, SIGNS[look])
    assert f"\n| {look} | " in SCRIPT
