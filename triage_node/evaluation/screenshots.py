"""`make pictures`: the pictures of README and of the guides, taken from a demo that has just run.

    python -m triage_node.evaluation.screenshots [--folder build/pictures] [--out deploy/pictures]

The demo runs as a process of its own, as a newcomer would start it; its link that logs in once opens the pages. So every picture
shows phantoms, on a store that is marked as simulation, and a picture without that mark in it is an error.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from triage_node.domain.errors import EvaluationError
from triage_node.evaluation.chromium import Window, window

ROOT = Path(__file__).resolve().parents[2]
LARGEST_BYTES = 150_000
WIDE, PHONE = 1366, 390
MIDDLE, TALL = 1120, 1080
COLOURS = 256
METHODS = (Image.Quantize.MEDIANCUT, Image.Quantize.MAXCOVERAGE)
"""The first is truer; among the greys of a CT the second keeps colours that are rare ("critical" is red), and is smaller."""
STOP_S = 60.0
_LINK = re.compile(r"(http://\S+?/)login/link\?key=\S+")
_UP = "The page stays until Ctrl-C."
_MARK = "aside.simulation"
# another threshold, so that the two columns differ
_TRY = "document.getElementById('ich.raise').value = '0.9'; document.getElementById('trial').requestSubmit();"


def main(arguments: Sequence[str] | None = None) -> int:
    """Status 2: the demo or the browser did not come as far as a picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "pictures", help="where the demo writes")
    parser.add_argument("--out", type=Path, default=ROOT / "deploy" / "pictures", help="where the pictures go")
    options = parser.parse_args(arguments)
    try:
        with _demo(options.folder) as link, window() as browser:
            for name, picture in _pictures(browser, link, options.folder):
                target = options.out / name
                target.write_bytes(small(picture, name))
                print(f"{target}: {target.stat().st_size / 1000:.0f} kB", flush=True)
    except EvaluationError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


@contextmanager
def _demo(folder: Path) -> Iterator[str]:
    """A demo that has finished and keeps its page up; gives the link that logs in once."""
    command = [sys.executable, "-u", "-m", "triage_node.cli.demo", "--folder", str(folder)]
    environment = {**os.environ, "DEMO_EXIT": "0"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        yield _link(process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=STOP_S)


def _link(process: subprocess.Popen[str]) -> str:
    """Raises: EvaluationError with what the demo said, where it ended or something was not as it should be."""
    said: list[str] = []
    link = ""
    for line in process.stdout or ():
        said.append(line)
        if found := _LINK.search(line):
            link = found[0]
        if _UP in line:
            wrong = [words for words in said if words.startswith("not as it should be")]
            if wrong:
                raise EvaluationError("".join(wrong))
            return link
    raise EvaluationError(f"the demo ended by itself:\n{''.join(said[-20:])}")


def _pictures(browser: Window, link: str, folder: Path) -> Iterator[tuple[str, Image.Image]]:
    """(file name, picture), in the order in which a reader and then an administrator would go."""
    home = link[: link.index("login/")]
    browser.size(WIDE, 768)
    browser.open(link)
    study = browser.until("return document.querySelector('section.next a.reason')?.href", "the list")
    yield "list.png", _seen(browser, WIDE, 768)
    browser.size(PHONE, 844)
    yield "list-phone.png", _seen(browser, PHONE, 844)

    browser.size(MIDDLE, TALL)
    browser.open(study)
    browser.until("return performance.getEntriesByName('first-slice').length", "the first slice")
    browser.script("document.getElementById('to-key').click()")
    # the node has heard that an image was shown
    browser.until("return !document.getElementById('act-disagree').disabled", "the key slice")
    yield "study.png", _seen(browser, MIDDLE, TALL)
    browser.size(900, TALL)
    browser.script("document.getElementById('act-agree').click()")
    # both change the height of the section
    stored = "return document.getElementById('act-undo') && document.getElementById('feedback-status').innerText"
    browser.until(stored, "the answer to be stored")
    yield "feedback.png", _marked(browser, "#feedback")

    for name, height in (("lab", 1000), ("operations", 1000), ("audit", 800)):
        browser.size(WIDE, height)
        browser.open(home + name)
        browser.until("return document.readyState === 'complete'", f"the page {name}")
        if name == "lab":
            browser.script(_TRY)
            browser.until("return !document.getElementById('replay').innerText.includes('Move one')", "the replay")
        yield f"{name}.png", _seen(browser, WIDE, height)

    heatmaps = sorted((folder / "pictures").glob("heatmap-*.png"))
    if not heatmaps:
        raise EvaluationError("the demo wrote no heatmap")
    yield "heatmap.png", Image.open(heatmaps[len(heatmaps) // 2])


def _seen(browser: Window, width: int, height: int) -> Image.Image:
    """The first screen, with the mark of a simulation in it."""
    _, y, _, tall = _box(browser, _MARK)
    if y + tall > height:
        raise EvaluationError("the page's first screen does not say that it is a simulation")
    return _image(browser.picture(0, 0, width, height))


def _marked(browser: Window, selector: str) -> Image.Image:
    """One part of the page, below the mark of a simulation."""
    x, _, width, _ = (box := _box(browser, selector))
    _, above, _, tall = _box(browser, _MARK)
    parts = [_image(browser.picture(x, above, width, tall)), _image(browser.picture(*box))]
    whole = Image.new("RGB", (parts[0].width, sum(p.height for p in parts)), "white")
    whole.paste(parts[0], (0, 0))
    whole.paste(parts[1], (0, parts[0].height))
    return whole


def _box(browser: Window, selector: str) -> tuple[float, float, float, float]:
    """(x, y, width, height) of the first element, in CSS pixels of the page."""
    found = browser.script(
        f"const b = document.querySelector({selector!r})?.getBoundingClientRect();"
        "return b ? [b.x + scrollX, b.y + scrollY, b.width, b.height] : null"
    )
    if found is None:
        raise EvaluationError(f"the page has no {selector}")
    x, y, width, height = found
    return x, y, width, height


def _image(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def small(picture: Image.Image, name: str) -> bytes:
    """PNG with a palette. Raises: EvaluationError when it is larger than LARGEST_BYTES all the same."""
    for method in METHODS:
        held = io.BytesIO()
        few = picture.convert("RGB").quantize(COLOURS, method, dither=Image.Dither.NONE)
        few.save(held, "PNG", optimize=True)
        if held.tell() <= LARGEST_BYTES:
            return held.getvalue()
    raise EvaluationError(f"{name} would have {held.tell() / 1000:.0f} kB")


if __name__ == "__main__":
    raise SystemExit(main())
