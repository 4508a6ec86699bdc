"""How fast the study page draws, measured inside headless Chromium on loopback: first slice, slices a second, script a slice.

A phantom of 32 slices of 512 x 512 with a bleed, its mask drawn over it. "Cold": from the first slice on, each next one is asked
for as soon as the last was drawn, while slices still come over the wire; "warm": once more, with all of them in the page.
`python -m triage_node.evaluation.bench_viewer` prints the figures; `make bench` writes them where README takes them.
"""

from __future__ import annotations

import json
import socket
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from triage_node.console import viewer
from triage_node.console.app import Console, create_app
from triage_node.console.deps import About, ConsoleDeps, ReadingList, StudyDetails
from triage_node.console.viewer import Shown, ViewerDeps
from triage_node.domain.errors import EvaluationError
from triage_node.domain.finding import BundleIdentity, Detection, EvidenceLevel
from triage_node.domain.person import Person, Role
from triage_node.domain.priority import ListPolicy, Mode
from triage_node.domain.study import StudyState
from triage_node.evaluation.chromium import WAIT_S, window
from triage_node.report import display
from triage_node.simulation.phantom import FIRST_DEMO_SEED, head
from triage_node.simulation.phantom_bleeds import Bleed

UID = "1.2.3"
SLICES, SIDE = 32, 512
LOADS = 7

_SCROLL = """
const done = arguments[arguments.length - 1];
const section = document.getElementById('viewer'), slider = document.getElementById('slice');
const to = n => { slider.value = n; slider.dispatchEvent(new Event('input')); };
const began = performance.now(), spent = [];
let next = 1;
section.addEventListener('drawn', function step(e) {
    if (e.detail.slice !== next - 1) return;
    spent.push(e.detail.ms);
    if (next === Number(slider.max)) {
        section.removeEventListener('drawn', step);
        done({slices: spent.length, seconds: (performance.now() - began) / 1000, spent});
    } else to(++next);
});
to(1);
"""


def run() -> dict[str, Any]:
    """Milliseconds and slices a second, medians over LOADS loads of the page. Raises: EvaluationError without a browser."""
    with tempfile.TemporaryDirectory() as folder, _served(_app(Path(folder))) as address, window() as browser:
        first, cold, warm, script = [], [], [], []
        for _ in range(LOADS):
            browser.open(f"{address}/studies/{UID}")
            first.append(
                browser.until(
                    "const e = performance.getEntriesByName('first-slice')[0]; return e ? e.startTime : 0",
                    "the first slice",
                )
            )
            for rates in (cold, warm):
                scrolled = browser.called_back(_SCROLL)
                rates.append(scrolled["slices"] / scrolled["seconds"])
                script += scrolled["spent"]
        held = sum(f.stat().st_size for f in Path(folder).rglob("*.slices"))
    return {
        "viewer": {
            "first_slice_ms": statistics.median(first),
            "cold_slices_per_s": statistics.median(cold),
            "warm_slices_per_s": statistics.median(warm),
            "script_ms": statistics.median(script),
            "study_mb": held / 1e6,
        }
    }


def _app(folder: Path) -> Console:
    made = head(FIRST_DEMO_SEED, 1, slices=SLICES, size=SIDE, bleeds=(Bleed("iph", 42.0, (26.0, 4.0, 6.0), 66.0),))
    mask = (made.truth.bleed > 0).astype(np.uint8)
    key = int(mask.reshape(SLICES, -1).sum(axis=1).argmax())
    scores = mask.reshape(SLICES, -1).any(axis=1).astype(np.float32)
    bundle = BundleIdentity("phantom", "1", "", "none")
    found = Detection(1.0, scores, {}, mask, mask * np.uint8(255), 42.0, (), key, bundle)
    path = display.path_of(folder, UID)
    display.write(path, made.volume, found, 1)
    held = display.read(path)
    if held is None:
        raise EvaluationError("the slices that were written cannot be read")
    shown = Shown(
        held.digest, held.frame, 1, held.with_findings, tuple(float(s) for s in scores), key, 0.5, EvidenceLevel.E0
    )
    now = datetime.now(UTC)
    details = StudyDetails(UID, About("SIMULATED", "CT head", StudyState.DELIVERED), "", now, SLICES, "released")
    deps = ConsoleDeps(
        reading_list=lambda at, flags_count: ReadingList(1, ListPolicy(mode=Mode.ACTIVE), (), {}),
        list_version=lambda: 1,
        mode=lambda: Mode.ACTIVE,
        study=lambda uid: details if uid == UID else None,
        timeline=lambda uid: [],
        object_file=lambda uid: None,
        heartbeats=lambda: dict.fromkeys(("ingest", "analysis", "scheduler"), datetime.now(UTC)),
        simulation=True,
        person_of=lambda request: Person("bench", frozenset({Role.READER})),
    )
    room = viewer.room(
        ViewerDeps(
            shown=lambda uid: shown if uid == UID else None,
            pixels=lambda uid, digest, i: display.pixels_of(path, digest, i),
            findings=lambda uid, digest, i: display.findings_of(path, digest, i),
            heat_map=lambda uid, revision, i: None,
        )
    )
    return create_app(deps, (room,))


@contextmanager
def _served(app: Console) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = uvicorn.Server(uvicorn.Config(app.guarded, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        app.events.close()
        server.should_exit = True
        thread.join(WAIT_S)
        listener.close()


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
