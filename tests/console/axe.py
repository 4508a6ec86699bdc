"""axe-core by Deque, run inside a page: each rule that the page breaks, in words.

All rules count, its advice on good practice too. `violations` is what every page's test asks for.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from tests.console.browser import Browser

_FOLDER = Path(__file__).parents[1] / "counterparts" / "axe" / "node_modules" / "axe-core"

_CALM = """
for (const running of document.getAnimations()) {
    if (Number.isFinite(running.effect.getComputedTiming().endTime)) running.finish();
    else running.cancel();
}
"""
# reported with the first three places: enough to find the template, short enough to read
_RUN = """
return axe.run(document, { resultTypes: ['violations'] }).then(found => found.violations.map(broken =>
    `${broken.id} (${broken.impact}): ${broken.help}: `
    + broken.nodes.slice(0, 3).map(n => `${n.target.join(' ')} ${n.any.concat(n.all, n.none).map(c => c.message).join(', ')}`).join(' | ')
));
"""


def violations(window: Browser) -> list[str]:
    """What the page that is open breaks; empty for a page without a violation. Animations are ended first: text that is
    still fading in has no colour of its own yet."""
    window.script(_CALM)
    window.script(_source())
    return list(window.script(_RUN))


@cache
def _source() -> str:
    if not _FOLDER.is_dir():
        pytest.skip("axe-core is not installed; `make npm` installs it")
    return (_FOLDER / "axe.min.js").read_text("utf-8")
