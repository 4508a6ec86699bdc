"""Coverage-guided fuzzing of every reader: a few hundred inputs a target in each run, a million or 15 minutes in `make prove`.

TRIAGE_PROVE_FUZZ_EXECUTIONS and TRIAGE_PROVE_FUZZ_SECONDS set other sizes. A target runs in a process of its own, so that what
ends the interpreter is a find and not the end of the tests.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.run import MOST_MB, TARGETS
from tests.support.prove import PROVING, record, sized

ROOT = Path(__file__).resolve().parents[2]
EXECUTIONS = sized("fuzz_executions", short=100, proven=1_000_000)
SECONDS = sized("fuzz_seconds", short=3, proven=900)
CPU_S = 5 if PROVING else 120
"""A run of the tests is no measurement: there it only keeps a hang from lasting for ever."""
LONGEST_SEED = 1 << 20 if PROVING else 1 << 11
pytestmark = [pytest.mark.prove(short=True), pytest.mark.timeout(len(TARGETS) * (SECONDS + 600))]


@pytest.fixture(scope="module")
def said(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, dict[str, Any]], str]:
    """What the one process said of each target asked for, and its log: loading and instrumenting costs more than a short run."""
    asked = [
        item.callspec.params["target"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module
    ]
    sizes = {"executions": EXECUTIONS, "seconds": SECONDS, "cpu": CPU_S, "longest": LONGEST_SEED}
    options = [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
    folder = tmp_path_factory.mktemp("fuzz")
    command = [sys.executable, "-m", "tests.fuzz.run", *asked, *options, "--folder", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return {line["target"]: line for line in map(json.loads, done.stdout.splitlines())}, done.stderr[-8000:]


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_ends_it_hangs_it_or_takes_a_gigabyte(said, target):
    figures, log = said
    assert target in figures, log
    told = figures[target]
    record(
        f"fuzz_{target}",
        f"{target}: no input crashes it, takes over {CPU_S} s of CPU or {MOST_MB} MB",
        {**told, "asked": f"{EXECUTIONS} executions or {SECONDS} s"},
    )
    assert told["finds"] == [], log
    assert told["executions"] > 0
    assert told["coverage"] > 0
