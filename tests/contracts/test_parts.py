"""`make test` says at its end what failed, since who reads a log of CI may see no more than that."""

from __future__ import annotations

import shutil

import pytest

from tests.support import parts

STEADY = "def test_it(): pass\n"
BROKEN = "def test_it(): assert 1 == 2\n"
AT_SECOND_SIGHT = """
from pathlib import Path

def test_it():
    seen = Path(__file__).with_name("seen")
    again = seen.exists()
    seen.touch()
    assert again

def test_other():
    with Path(__file__).with_name("others").open("a") as runs:
        runs.write("run ")
"""
GONE = "import os\n\ndef test_it(): os._exit(70)\n"


@pytest.fixture
def project(tmp_path):
    script = tmp_path / parts.OWN_NETWORK
    script.parent.mkdir()
    shutil.copy(parts.ROOT / parts.OWN_NETWORK, script)

    def of(**folders: str):
        for name, text in folders.items():
            folder = tmp_path / "tests" / name
            folder.mkdir(parents=True)
            (folder / "__init__.py").touch()
            (folder / "test_of_it.py").write_text(text)
        return tmp_path

    return of


def test_all_pass(project, capsys):
    assert parts.main(project(one=STEADY, two=STEADY)) == 0
    assert "2 folders in" in capsys.readouterr().out


def test_a_test_that_passes_by_itself_is_named_and_is_run_again_alone(project, capsys):
    root = project(one=STEADY, two=AT_SECOND_SIGHT)
    assert parts.main(root) == 0
    end = capsys.readouterr().out.split("folders in")[1]
    assert "Not steady (failed beside others, passed by themselves):\n  FAILED tests/two/test_of_it.py::test_it" in end
    assert (root / "tests/two/others").read_text() == "run "


@pytest.mark.parametrize("ci", ["", "true"])
def test_long_names_are_shown_whole_with_and_without_room_for_the_error(project, capsys, monkeypatch, ci):
    """pytest cuts a line of its summary at the width of the terminal, and does not where CI is set."""
    monkeypatch.setenv("CI", ci) if ci else monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("BUILD_NUMBER", raising=False)
    named = AT_SECOND_SIGHT.replace("def test_it", f"def test_{'long' * 30}")
    assert parts.main(project(two=named)) == 0
    end = capsys.readouterr().out.split("folders in")[1]
    assert f"passed by themselves):\n  FAILED tests/two/test_of_it.py::test_{'long' * 30}" in end


def test_the_end_names_what_failed_twice(project, capsys):
    assert parts.main(project(one=BROKEN, two=STEADY)) == 1
    end = capsys.readouterr().out.split("folders in")[1]
    assert "one ended with 1:" in end
    assert "FAILED tests/one/test_of_it.py::test_it - assert 1 == 2" in end


def test_many_failures_are_no_noise(project, capsys):
    many = "".join(f"def test_{i}(): assert {i} < 0\n" for i in range(parts.MOST_AGAIN + 1))
    assert parts.main(project(one=many, two=AT_SECOND_SIGHT)) == 1
    end = capsys.readouterr().out.split("folders in")[1]
    assert "two ended with 1:" in end
    assert "Not steady" not in end


def test_a_run_that_broke_off_is_no_pass(project, capsys):
    assert parts.main(project(one=GONE)) == 70
    assert "one ended with 70:" in capsys.readouterr().out
