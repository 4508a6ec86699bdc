"""Volume and outcome for the node: measured from pixels, held against the mask, abstaining by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.prognosis.bundles import quantification_bundle, scan
from tests.prognosis.cases import IVH, detection, piece
from triage_node.bundle.load import MANIFEST
from triage_node.domain.errors import HashMismatch, ManifestInvalid
from triage_node.domain.prognosis import ClinicalFacts
from triage_node.prognosis.quantification import BOUND_FILE, Agreement, Quantification

FACTS = ClinicalFacts(age_years=70, gcs=12, trauma=False)
MEASURED = {"ml": 30.0, "outcome": 0.4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantification_bundle(tmp_path_factory.mktemp("quantification"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Quantification:
    return Quantification(folder, 1)


def test_measure_is_pure_and_fits_json(model: Quantification):
    volume = scan().volume
    first = model.measure(volume, detection(piece()))
    assert json.loads(json.dumps(first, allow_nan=False)) == first == model.measure(volume, detection(piece()))
    assert first["ml"] >= 0


def test_saliency_has_one_map_a_task_between_0_and_1(model: Quantification):
    found = model.saliency(scan().volume)
    assert isinstance(found, dict)
    assert list(found) == ["volume", "outcome"]
    for cam in found.values():
        assert cam.shape == (24, 96, 96)
        assert 0 <= cam.min() <= cam.max() <= 1


def test_volume_and_outcome_are_shown_with_interval_source_and_level(model: Quantification):
    said = model.predict(MEASURED, detection(piece(ml=32.0)), FACTS)
    volume, outcome = said.estimates
    assert (volume.value, volume.low, volume.high, volume.unit) == (30.0, 21.7, 42.5, "mL")
    assert (30.0 - 21.7, 42.5 - 30.0) == pytest.approx((4 + 0.2 * 21.7, 4 + 0.2 * 42.5), abs=0.1), (
        "the masks that agree"
    )
    assert outcome.low < outcome.value < outcome.high
    assert outcome.unit == "%"
    assert said.evidence == "E0"
    assert said.warnings == ("Trained and measured on simulated patients: no clinical evidence.",)
    assert "Never a reason to limit care." in said.caution
    assert dict(said.used)["hematoma volume"].startswith("32.0 mL (bloodnet")


def test_disagreement_beyond_the_bound_is_flagged_and_withholds_the_outcome(model: Quantification):
    said = model.predict(MEASURED, detection(piece(ml=60.0)), FACTS)
    assert said.warnings[-1] == (
        "Regressed 30.0 mL, mask 60.0 mL: further apart than the bound of 16.0 mL. Look at the mask; no outcome is given."
    )
    assert len(said.estimates) == 1


def test_the_bound_itself_still_agrees():
    agreement = Agreement(4.0, 0.2)
    assert agreement.holds(14.0, 10.0 + 0.0)
    assert agreement.holds(16.0, 10.0)
    assert not agreement.holds(16.1, 10.0)


def test_missing_facts_are_named_and_leave_the_volume_alone(model: Quantification):
    said = model.predict(MEASURED, detection(piece(ml=32.0)), ClinicalFacts(trauma=False))
    assert said.missing == ("age", "GCS")
    assert [e.unit for e in said.estimates] == ["mL"]
    assert "without age and GCS" in said.warnings[-1]


@pytest.mark.parametrize(
    ("pieces", "facts", "reason"),
    [
        ((), FACTS, "no hemorrhage was measured"),
        ((IVH,), FACTS, "isolated"),
        ((piece("sdh"),), FACTS, "only for spontaneous parenchymal hemorrhage"),
        ((piece(ml=200.0),), FACTS, "only up to 180 mL"),
        ((piece(ml=float("nan")),), FACTS, "hematoma volume: not measured"),
        ((piece(ml=32.0),), replace(FACTS, age_years=12), "children"),
        ((piece(ml=32.0),), replace(FACTS, age_years=110), "age: only for 18 to 100 years"),
        ((piece(ml=32.0),), replace(FACTS, trauma=True), "trauma"),
        ((piece(ml=32.0),), replace(FACTS, after_surgery=True), "after surgery"),
    ],
)
def test_outside_its_group_it_abstains_by_name(model: Quantification, pieces: tuple, facts: ClinicalFacts, reason: str):
    said = model.predict(MEASURED, detection(*pieces), facts)
    assert reason in said.abstained
    assert said.estimates == ()


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        ({"abstained": "the slices are not axial"}, "not axial"),
        ({}, "not measured"),
        ({"ml": "30", "outcome": 1}, "not measured"),
        ({"ml": float("inf"), "outcome": 1.0}, "not measured"),
        ({"ml": 500.0, "outcome": 1.0}, "only up to 180 mL"),
    ],
)
def test_odd_measurements_abstain(model: Quantification, measured: dict, reason: str):
    assert reason in model.predict(measured, detection(piece(ml=30.0)), FACTS).abstained


def test_a_scan_that_is_no_head_is_not_measured(model: Quantification):
    volume = scan().volume
    empty = replace(volume, hu=np.full_like(volume.hu, -1000))
    assert model.measure(empty, detection(piece())) == {"abstained": "no skull was found"}
    assert model.saliency(empty) == "no skull was found"


def test_a_changed_bound_is_refused(tmp_path: Path):
    folder = quantification_bundle(tmp_path)
    (folder / BOUND_FILE).write_text('{"ml": 1000, "share": 9}')
    with pytest.raises(HashMismatch):
        Quantification(folder, 1)


def test_a_bundle_for_other_pictures_is_refused(tmp_path: Path):
    folder = quantification_bundle(tmp_path)
    held = json.loads((folder / MANIFEST).read_text())
    held["preprocessing"]["pixel_mm"] = 1.0
    (folder / MANIFEST).write_text(json.dumps(held))
    with pytest.raises(ManifestInvalid, match="preprocessing"):
        Quantification(folder, 1)


@pytest.mark.parametrize("text", [b"", b"{}", b'{"ml": -1, "share": 0}', b'{"ml": NaN, "share": 0}', b"[]"])
def test_a_bound_of_another_kind_is_refused(text: bytes):
    with pytest.raises(ManifestInvalid):
        Agreement.from_json(text)
