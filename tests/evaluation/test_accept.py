"""From a draft of evidence to the level that the gate reads."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.store_place import store_line
from triage_node.bundle.load import load_bundle
from triage_node.cli.accept import accept
from triage_node.cli.setup import initialise
from triage_node.config.load import load
from triage_node.domain.errors import EvaluationError, StoreError
from triage_node.domain.finding import BundleIdentity, EvidenceLevel, OperatingPoint
from triage_node.domain.scan_source import ScanSource
from triage_node.evaluation import evidence
from triage_node.processes.running import now
from triage_node.processes.wiring import bundle_folder
from triage_node.store import audit, policy
from triage_node.store.engine import open_store
from triage_node.store.evaluations import is_calibrated, scans_covered, site_levels

DIGEST = load_bundle(bundle_folder("bloodnet")).digest
CALIBRATION = {"slope_ci": [0.8, 1.2], "ece": 0.03}
TWO = ["A. Radiologist", "B. Physicist"]
MADE_BY = [{"scanner": "Maker", "kernel": "H31s", "software": "VA48A", "studies": 400}]


def record(
    n: int = 400, positives: int = 60, low: float = 0.7, calibration: dict = CALIBRATION, **data: object
) -> dict:
    identity = BundleIdentity("bloodnet", "0.1.0", DIGEST, "onnxruntime")
    entry = load_bundle(bundle_folder("bloodnet")).manifest.operating_points["ich"]
    known = {"simulated_cases": 0, "picture_cases": 0, "cases": n, "scans": MADE_BY, "digest": "0" * 64}
    known["received"] = {"all": True, "words": "all"}
    share = [low, 0.99]
    study = {
        "n": n,
        "positives": positives,
        "sensitivity": 0.9,
        "specificity": 0.9,
        "sensitivity_ci": share,
        "specificity_ci": share,
    }
    return evidence.draft(identity, 1, entry.model_dump(mode="json"), {**known, **data}, study, calibration)


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({}, "E2"),
        ({"n": 120, "low": 0.81}, "E2"),
        ({"n": 120}, "E1"),
        ({"positives": 49}, "E1"),
        ({"simulated_cases": 1}, "E0"),
        ({"picture_cases": 3}, "E1"),
        ({"received": {"all": False, "words": "none"}}, "E1"),
    ],
)
def test_e2_needs_every_condition_that_can_be_computed(changes, level):
    found = record(**changes)
    assert found["level_when_signed"] == level
    assert found["level"] in ("E0", "E1"), "a draft itself is never more"


def record_of_volume(n: int = 60, high: float | None = 0.9, silver: int = 0, **data: object) -> dict:
    known = {"simulated_cases": 0, "picture_cases": 0, "cases": n, "scans": MADE_BY, "digest": "0" * 64}
    known["received"] = {"all": True, "words": "all"}
    error = {"n": n, "median": 0.7, "median_ci": None if high is None else [0.5, high]}
    agreement = {"n": n, "bias": 0.4, "low": -3.0, "high": 3.8, "median_error": 1.1}
    overlap = {"volume_error": error, "volume_ml": agreement, "silver": silver}
    identity = BundleIdentity("bloodnet", "0.1.0", DIGEST, "onnxruntime")
    return evidence.volume_draft(identity, 1, {**known, **data}, overlap)


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({}, "E2"),
        ({"n": 49}, "E1"),
        ({"high": 1.01}, "E1"),
        ({"high": None}, "E1"),
        ({"silver": 1}, "E1"),
        ({"picture_cases": 1}, "E1"),
        ({"simulated_cases": 1}, "E0"),
    ],
)
def test_a_volume_needs_studies_and_an_error_that_may_pass(changes, level):
    found = record_of_volume(**changes)
    assert (found["output"], found["level_when_signed"]) == ("hematoma_volume_ml", level)


def test_a_signed_volume_counts_whatever_the_thresholds_and_gives_the_finding_nothing(node, tmp_path):
    config, store = node
    accept(file_of(tmp_path, record_of_volume()), TWO, config, Console(file=io.StringIO()))
    assert site_levels(store, DIGEST) == {"hematoma_volume_ml": EvidenceLevel.E2}
    point = policy.current(store)["ich"]
    policy.add(store, [replace(point, raise_probability=point.raise_probability - 0.01)], "a test", "shift", now())
    assert site_levels(store, DIGEST) == {"hematoma_volume_ml": EvidenceLevel.E2}


def test_nothing_measured_is_e0():
    found = record(n=0, positives=0, low=0.0)
    assert (found["level"], found["level_when_signed"]) == ("E0", "E0")


@pytest.fixture
def node(tmp_path):
    config = tmp_path / "node.toml"
    config.write_text(store_line(tmp_path / "data") + "\n")
    list(initialise(config, False))
    store = open_store(load(config)[0].database_url)
    yield config, store
    store.close()


def file_of(folder: Path, content: dict) -> Path:
    path = folder / "evidence.json"
    path.write_text(json.dumps(content))
    return path


def test_a_signed_record_raises_the_level_and_a_shift_of_thresholds_takes_it_back(node, tmp_path):
    config, store = node
    assert site_levels(store, DIGEST) == {}
    said = io.StringIO()
    accept(file_of(tmp_path, record()), TWO, config, Console(file=said))
    assert site_levels(store, DIGEST) == {"ich": EvidenceLevel.E2}
    assert site_levels(store, "0" * 64) == {}
    assert scans_covered(store, DIGEST, "ich") == {ScanSource("Maker", "H31s", "VA48A")}
    assert "stated by those who signed: studies were consecutive" in said.getvalue()
    actors = [actor for _, actor, _ in audit.entries(store, f"ich E2 for bundle {DIGEST[:12]}")]
    assert actors == ["A. Radiologist and B. Physicist"]
    point = policy.current(store)["ich"]
    shifted = OperatingPoint("ich", point.raise_probability - 0.01, point.notify_probability, 0, point.unsure_from)
    policy.add(store, [shifted], "a test", "site shift", now())
    assert site_levels(store, DIGEST) == {}


@pytest.mark.parametrize(
    ("measured", "calibrated"),
    [
        (CALIBRATION, True),
        ({"slope_ci": [0.4, 0.9], "ece": 0.03}, False),
        ({"slope_ci": [0.8, 1.2], "ece": 0.2}, False),
        ({"slope_ci": None, "ece": None}, False),
        ({"slope_ci": "1", "ece": []}, False),
    ],
)
def test_percentages_need_this_sites_own_calibration_at_the_thresholds_in_force(node, tmp_path, measured, calibrated):
    config, store = node
    assert not is_calibrated(store, DIGEST, "ich")
    accept(file_of(tmp_path, record(calibration=measured)), TWO, config, Console(file=io.StringIO()))
    assert is_calibrated(store, DIGEST, "ich") is calibrated
    point = policy.current(store)["ich"]
    policy.add(store, [replace(point, raise_probability=point.raise_probability - 0.01)], "a test", "shift", now())
    assert not is_calibrated(store, DIGEST, "ich")


@pytest.mark.parametrize("names", [["A. Radiologist"], ["A. Radiologist", "a. radiologist "], ["A", " "]])
def test_one_person_is_not_two(node, tmp_path, names):
    with pytest.raises(StoreError, match="two different people"):
        accept(file_of(tmp_path, record()), names, node[0], Console(file=io.StringIO()))
    assert site_levels(node[1], DIGEST) == {}


def test_records_that_do_not_carry_e2_or_name_another_bundle_are_refused(node, tmp_path):
    with pytest.raises(EvaluationError, match="cannot become E2: no simulated data"):
        accept(file_of(tmp_path, record(simulated_cases=1)), TWO, node[0], Console(file=io.StringIO()))
    other = record()
    other["key"]["bundle_digest"] = "1" * 64
    with pytest.raises(EvaluationError, match="is about bundle 1111"):
        accept(file_of(tmp_path, other), TWO, node[0], Console(file=io.StringIO()))


def test_a_record_that_does_not_say_what_it_covers_is_refused(node, tmp_path):
    old = record()
    old["key"]["scanners"] = [scan["scanner"] for scan in old["key"].pop("scans")]
    with pytest.raises(EvaluationError, match="is no evidence.json"):
        accept(file_of(tmp_path, old), TWO, node[0], Console(file=io.StringIO()))


def test_a_simulated_store_takes_no_evidence(tmp_path):
    config = tmp_path / "node.toml"
    config.write_text(store_line(tmp_path / "data") + "\n")
    list(initialise(config, True))
    with pytest.raises(EvaluationError, match="simulation"):
        accept(file_of(tmp_path, record()), TWO, config, Console(file=io.StringIO()))


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"format": 2}', "x" * 2_000_000])
def test_files_that_are_no_evidence_are_refused(node, tmp_path, content):
    path = tmp_path / "evidence.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(EvaluationError):
        accept(path, TWO, node[0], Console(file=io.StringIO()))
