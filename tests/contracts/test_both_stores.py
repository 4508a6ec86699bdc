"""`database_url` and `blob_url` are all that changes: tests written for SQLite and files pass on PostgreSQL and an object store.

Each run of the tests runs a sample so, `make prove` every room that opens a store. tests/store and tests/blobs are on both in each run;
tests/hosts, tests/fuzz, tests/floods and tests/simulated_faults say themselves what they are on.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.pacs import program
from tests.support.prove import record
from triage_node.evaluation.generated import ROOT

ROOMS = (
    "association",
    "cli",
    "console",
    "delivery",
    "evaluation",
    "gateway",
    "instances",
    "journeys",
    "processes",
    "workitems",
    "worklist",
)
SAMPLE = (
    "tests/cli/test_audited.py",
    "tests/processes/auditing/test_heads.py::test_export_holds_every_cell_as_text_and_is_an_entry_itself",
    "tests/processes/operations/test_heartbeat.py::test_run_that_arrived_as_built_passes_and_is_erased_at_the_next_look",
    "tests/processes/test_corrections.py::test_without_its_images_a_study_is_listed_and_not_opened_again",
)
"""What shows in the least time that the two are alike: a store that `init` makes, its trail, built objects, received images."""


def run_shared(told: Path, *tests: str) -> tuple[subprocess.CompletedProcess[str], Counter[str]]:
    """The tests on PostgreSQL and an object store of their own, and how many cases passed, failed and were skipped."""
    program("runuser")  # or skip: PostgreSQL runs as a user of its own
    environment = {key: value for key, value in os.environ.items() if key != "TRIAGE_PROVE"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junit-xml={told}", *tests]
    done = subprocess.run(
        command, cwd=ROOT, env=environment | {"TRIAGE_TEST_STORE": "shared"}, capture_output=True, text=True
    )
    return done, Counter(_outcome(case) for case in ElementTree.parse(told).iter("testcase"))


def _outcome(case: ElementTree.Element) -> str:
    if list(case.iter("failure")) or list(case.iter("error")):
        return "failed"
    return "skipped" if list(case.iter("skipped")) else "passed"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sample_passes_on_postgresql_and_an_object_store(tmp_path):
    done, cases = run_shared(tmp_path / "told.xml", *SAMPLE)
    assert done.returncode == 0, done.stdout[-4000:]
    assert cases["passed"] > 0


@pytest.mark.prove
@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("room", ROOMS)
def test_every_test_of_a_room_passes_on_postgresql_and_an_object_store(tmp_path, room):
    done, cases = run_shared(tmp_path / "told.xml", f"tests/{room}")
    record(
        f"shared_{room}",
        f"The tests of {room} pass on PostgreSQL and an object store as on SQLite and files",
        {outcome: cases[outcome] for outcome in ("passed", "failed", "skipped")},
    )
    assert done.returncode == 0, done.stdout[-4000:]
