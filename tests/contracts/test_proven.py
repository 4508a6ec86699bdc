"""The page of promises says what the stored runs say, and names tests that `make prove` runs."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.collected import collected
from triage_node.evaluation import proven
from triage_node.evaluation.generated import ROOT, block, write_block

TESTS = """
import pytest
from tests.support.prove import record, sized

def test_plain():
    pass

@pytest.mark.prove
def test_long():
    record("long", "it is long", {"of": sized("of", short=2, proven=9)})

@pytest.mark.prove(short=True)
def test_both():
    record("both", "it is both", {"of": sized("of", short=2, proven=9)})

@pytest.mark.prove
def test_that_breaks():
    record("breaks", "it breaks", {"of": 1})
    assert not sized("of", short=2, proven=9)

@pytest.mark.prove
def test_that_measures_nothing():
    raise OSError
"""


@pytest.fixture
def run(tmp_path):
    """pytest with this repository's conftest on a small file of tests."""
    (tmp_path / "test_small.py").write_text(TESTS, encoding="utf-8")

    def run(**variables: str) -> tuple[str, dict[str, dict]]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TRIAGE_PROVE")} | variables
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-v",
            "-p",
            "tests.conftest",
            "-p",
            "no:cacheprovider",
            "test_small.py",
        ]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
        )
        kept = (tmp_path / "build").glob("prove_*.json")
        return done.stdout, {p.stem.removeprefix("prove_"): json.loads(p.read_text(encoding="utf-8")) for p in kept}

    return run


def test_a_run_of_the_tests_leaves_long_ones_out_without_skipping_and_proves_nothing(run):
    said, kept = run()
    assert "2 passed, 3 deselected" in said
    assert not kept


def test_make_prove_runs_only_marked_tests_and_keeps_what_was_run_and_whether_it_held(run, tmp_path):
    earlier = tmp_path / "build" / "prove_earlier.json"
    earlier.parent.mkdir()
    earlier.write_text(
        json.dumps({"test": "test_small.py::test_that_measures_nothing", "held": True}), encoding="utf-8"
    )
    said, kept = run(TRIAGE_PROVE="1", TRIAGE_PROVE_OF="4")
    assert "2 failed, 2 passed, 1 deselected" in said
    assert {name: (k["held"], k["figures"].get("of")) for name, k in kept.items()} == {
        "long": (True, 4),
        "both": (True, 4),
        "breaks": (False, 1),
        "test_that_measures_nothing": (False, None),
    }
    assert kept["long"]["ran"] == "TRIAGE_PROVE_OF=4 make prove ARGS=test_small.py::test_long"
    assert kept["long"]["commit"]
    page = proven.page(list(kept.values()))
    assert "| it is long | [test_small.py](../test_small.py) |" in page
    assert "| **Not held:** it breaks |" in page


def test_page_and_readme_say_what_the_stored_runs_say():
    kept = proven.records()
    assert proven.PAGE.read_text(encoding="utf-8") == proven.page(kept), "run `make prove`"
    assert block("proven") == proven.for_readme(kept), "run `make prove`"


def test_every_stored_promise_has_a_test_that_make_prove_collects():
    named = {record["test"].partition("[")[0] for record in proven.records()}
    assert named <= collected({test.partition("::")[0] for test in named}, proving=True)


def test_a_block_is_replaced_and_missing_marks_are_an_error(tmp_path):
    document = tmp_path / "d.md"
    document.write_text("a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n", encoding="utf-8")
    write_block("x", "| \\1 |\n", document)
    assert document.read_text(encoding="utf-8") == "a\n<!-- x:begin -->\n| \\1 |\n<!-- x:end -->\nb\n"
    with pytest.raises(ValueError, match="no marks y:begin"):
        write_block("y", "", document)
