"""Every hazard of deploy/SAFETY.md is held by tests that are there; `make prove` runs them all."""

import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from tests.support.collected import collected
from tests.support.hazards import hazards
from tests.support.prove import record
from triage_node.evaluation.generated import ROOT

NAMED_BY_ISSUE_11 = (
    "A strong flag stands behind overdue studies",
    "A weak flag starves a trauma",
    "A flag expires unread",
    "A late slice or a new model silently ends a flag",
    "A bleed in a study whose time is missing",
    "A merge is undone by a re-send",
    "A bleed is moved to another patient",
    "An unfit scanner acts in active mode",
    "Silence is read as negative",
    "A prognosis limits care",
)


def test_first_rows_are_those_that_were_asked_for():
    assert all(row.startswith(asked) for row, asked in zip(hazards(), NAMED_BY_ISSUE_11, strict=False))


def test_every_test_that_a_hazard_names_is_collected():
    named = {test for tests in hazards().values() for test in tests}
    found = collected({test.partition("::")[0] for test in named})
    assert named - found <= {test.partition("::")[0] for test in found}


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_every_control_of_every_hazard_holds(tmp_path):
    named = hazards()
    tests = sorted({test for tests in named.values() for test in tests})
    environment = {key: value for key, value in os.environ.items() if key != "TRIAGE_PROVE"}
    told = tmp_path / "told.xml"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junit-xml={told}", *tests]
    done = subprocess.run(
        command, cwd=ROOT, env=environment | {"TRIAGE_FORBID_SKIP": "1"}, capture_output=True, text=True
    )
    cases = [case for case in ElementTree.parse(told).iter("testcase")]
    passed = [case for case in cases if not list(case.iter("failure")) and not list(case.iter("error"))]
    record(
        "hazards",
        "The control of every hazard in deploy/SAFETY.md holds",
        {"hazards": len(named), "tests_named": len(tests), "cases_run": len(cases), "passed": len(passed)},
    )
    assert done.returncode == 0, done.stdout[-4000:]
