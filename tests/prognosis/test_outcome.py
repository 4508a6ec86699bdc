"""Outcome for the node: from image score, age and GCS, with what is missing named; it never fills in what it reads itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.prognosis.bundles import multitask_bundle, scan
from tests.prognosis.cases import detection, piece
from triage_node.domain.errors import HashMismatch
from triage_node.domain.prognosis import ClinicalFacts
from triage_node.prognosis.gradcam import HEADS_FILE
from triage_node.prognosis.outcome import Outcome

FACTS = ClinicalFacts(age_years=70, gcs=12, trauma=False)
MEASURED = {"outcome": 0.4, "gcs": [1.0, -1.0], "age": 2.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return Outcome(multitask_bundle(tmp_path_factory.mktemp("multitask")), 1)


def test_measure_is_pure_and_fits_json(model: Outcome):
    volume = scan().volume
    first = model.measure(volume, detection(piece()))
    assert json.loads(json.dumps(first, allow_nan=False)) == first == model.measure(volume, detection(piece()))
    assert len(first["gcs"]) == 2


def test_saliency_has_one_map_a_task(model: Outcome):
    found = model.saliency(scan().volume)
    assert isinstance(found, dict)
    assert {task: cam.shape for task, cam in found.items()} == dict.fromkeys(("prognosis", "gcs", "age"), (24, 96, 96))


def test_chance_is_shown_with_interval_level_and_who_said_what(model: Outcome):
    said = model.predict(MEASURED, detection(piece(ml=32.0)), FACTS)
    (chance,) = said.estimates
    assert chance.low < chance.value < chance.high
    assert said.evidence == "E0"
    assert "simulated" in said.warnings[0]
    assert "Never a reason to limit care." in said.caution
    assert [name for name, _ in said.used] == ["image score", "age", "GCS"]


def test_what_the_network_reads_of_age_and_gcs_fills_in_nothing(model: Outcome):
    said = model.predict(MEASURED, detection(piece(ml=32.0)), ClinicalFacts(trauma=False))
    assert said.missing == ("age", "GCS")
    assert said.abstained == "not computable: without age and GCS too much is possible"
    other = {**MEASURED, "gcs": [-9.0, -9.0], "age": -9.0}
    known = detection(piece(ml=32.0))
    assert model.predict(other, known, FACTS) == model.predict(MEASURED, known, FACTS)


def test_unknown_trauma_is_a_condition_before_the_caution(model: Outcome):
    said = model.predict(MEASURED, detection(piece(ml=32.0)), replace(FACTS, trauma=None))
    assert said.caution.startswith("Holds only for a spontaneous hemorrhage")


@pytest.mark.parametrize(
    ("measured", "ml", "facts", "reason"),
    [
        ({"abstained": "no skull was found"}, 30.0, FACTS, "no skull"),
        ({}, 30.0, FACTS, "not measured"),
        ({"outcome": float("nan")}, 30.0, FACTS, "not measured"),
        (MEASURED, 190.0, FACTS, "up to 180 mL"),
        (MEASURED, 30.0, replace(FACTS, age_years=17), "children"),
        (MEASURED, 30.0, replace(FACTS, age_years=101), "age: only"),
        (MEASURED, 30.0, replace(FACTS, trauma=True), "trauma"),
    ],
)
def test_outside_its_group_it_abstains_by_name(model: Outcome, measured: dict, ml: float, facts, reason: str):
    said = model.predict(measured, detection(piece(ml=ml)), facts)
    assert reason in said.abstained
    assert said.estimates == ()


def test_changed_heads_are_refused(tmp_path: Path):
    folder = multitask_bundle(tmp_path)
    (folder / HEADS_FILE).write_text("{}")
    with pytest.raises(HashMismatch):
        Outcome(folder, 1)
