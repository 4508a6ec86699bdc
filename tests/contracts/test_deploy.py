"""What lies in deploy/ works with this version."""

import configparser
from pathlib import Path

import pytest

from triage_node.config.load import load
from triage_node.config.reference import reference
from triage_node.evaluation.conformance import PROVEN, conformance_statement

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def test_example_configuration_loads():
    settings, origins = load(DEPLOY / "triage-node.toml", {})
    assert settings.listener.senders[0].ae_title == "CT1"
    assert origins["listener.port"] == "file"


def test_configuration_reference_is_current():
    assert (DEPLOY / "CONFIGURATION.md").read_text(encoding="utf-8") == reference(), "run `make docs`"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("NoNewPrivileges", "true"),
        ("ProtectSystem", "strict"),
        ("CapabilityBoundingSet", ""),
        ("PrivateDevices", "true"),
        ("ExecStart", "/opt/triage-node/.venv/bin/triage-node serve"),
    ],
)
def test_unit_is_hardened(key, value):
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read(DEPLOY / "triage-node.service")
    assert unit["Service"][key] == value


def test_conformance_statement_is_current():
    assert (DEPLOY / "CONFORMANCE.md").read_text(encoding="utf-8") == conformance_statement(), "run `make docs`"


def test_every_test_that_the_conformance_statement_names_is_there():
    root = DEPLOY.parent
    for _, _, where in PROVEN:
        folder = ""
        for name in where.split(", "):
            path = name if "/" in name else f"{folder}/{name}"
            folder = path.rpartition("/")[0]
            assert (root / path).exists(), path
