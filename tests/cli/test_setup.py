"""init and check as a person would run them, without a node."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.store_place import before_init, store_line

PROGRAM = Path(sys.executable).with_name("triage-node")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=240, env={"COLUMNS": "200"})


@pytest.fixture
def config(tmp_path):
    path = before_init(tmp_path / "node.toml")
    done = run("init", "--config", str(path), "--simulation")
    assert done.returncode == 0, done.stderr
    return path


def test_init_writes_a_configuration_and_can_be_repeated(config):
    assert "[store]" in config.read_text()
    again = run("init", "--config", str(config), "--simulation")
    assert again.returncode == 0
    assert "thresholds version 1 are in force" in again.stdout


def test_simulation_cannot_be_taken_back(config):
    done = run("init", "--config", str(config))
    assert done.returncode == 2
    assert "simulation is fixed when a store is created" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_shows_origins_and_who_does_not_answer(config):
    done = run("check", "--config", str(config))
    assert done.returncode == 1
    assert "listener.port" in done.stdout
    assert "file" in done.stdout
    assert "WRONG own listener TRIAGE@127.0.0.1:11112" in done.stdout
    assert "WRONG process analysis: The analysis process never started: nothing is flagged" in done.stdout


def test_check_never_prints_a_password(config, tmp_path):
    config.write_text('[store]\ndatabase_url = "postgresql+pg8000://u:secret@127.0.0.1:1/t"\n')
    done = run("check", "--config", str(config))
    assert "secret" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("serve",), "run `triage-node init`"),
        (("timeline", "1.2.3"), "no study"),
        (("audit", "export", "--from", "9999-12-31", "--to", "9999-12-31"), "in the years 1970 to 2199"),
        (("send", "/nowhere", "--to", "nonsense"), "nonsense"),
    ],
)
def test_wrong_use_is_one_line_and_not_a_traceback(tmp_path, arguments, message):
    config = tmp_path / "node.toml"
    config.write_text(store_line(tmp_path / "data"))
    if arguments[0] == "timeline":
        assert run("init", "--config", str(config)).returncode == 0
    options = () if arguments[0] == "send" else ("--config", str(config))
    done = run(*arguments, *options)
    assert done.returncode != 0
    assert message in " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in done.stderr


def test_db_upgrade_says_what_it_did(config):
    done = run("db", "upgrade", "--config", str(config))
    assert re.fullmatch(r"schema \d{4} is current", done.stdout.splitlines()[-1])


def test_help_names_every_command():
    done = run("--help")
    for command in ("serve", "check", "send", "init", "timeline", "db"):
        assert command in done.stdout
