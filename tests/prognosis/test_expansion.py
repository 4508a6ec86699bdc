"""The predictor of expansion: integrated and clinical together, intervals for what is missing, abstention by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.prognosis.bundles import scan
from tests.prognosis.cases import IVH, detection, piece
from triage_node.domain.errors import ManifestInvalid
from triage_node.domain.finding import Location
from triage_node.domain.prognosis import ClinicalFacts
from triage_node.prognosis.expansion import (
    IMAGE,
    SHAPE,
    Expansion,
    ExpansionModel,
    picture_of,
    stored,
)
from triage_node.simulation.cohort import virtual_cohort
from triage_node.simulation.cohort_images import VOXEL_ML, render
from triage_node.simulation.phantom import head
from triage_node.simulation.phantom_bleeds import Bleed

FOLDER = Path(__file__).resolve().parents[2] / "models" / "expansion"
FACTS = ClinicalFacts(
    age_years=70, sex="F", gcs=13, nihss=9, onset_to_ct_h=2.0, on_anticoagulant=False, on_warfarin=False,
    on_antiplatelet=False, recurrent_ich=False, systolic_mmhg=172, glucose_mg_dl=130.0, trauma=False,
    sources=(("onset_to_ct_h", "entered by B"),),
)  # fmt: skip
FEATURES = {
    **dict.fromkeys(IMAGE, -1.0), "hu_variation": 0.12, "dark_share": 0.1, "very_dark_share": 0.02,
    "own_log_ml": 2.7, "own_log_ivh_ml": -1.2,
}  # fmt: skip
MEASURED = {"ml": 15.0, "features": FEATURES}


@pytest.fixture(scope="module")
def expansion() -> Expansion:
    return Expansion(FOLDER, 1)


@pytest.fixture
def bleed():
    return detection(piece(ml=15.0, location=Location.DEEP))


def test_with_every_fact_integrated_comes_first_then_the_facts_alone_and_never_the_image(expansion, bleed):
    p = expansion.predict(MEASURED, bleed, FACTS)
    assert not p.abstained
    assert [e.label for e in p.estimates] == [
        "Growth by 6 mL or 33 %, image and facts", "The same from the facts alone",
    ]  # fmt: skip
    for e in p.estimates:
        assert 0 <= e.low <= e.value <= e.high <= 100
        assert e.unit == "%"
    assert p.evidence == "E0"
    assert any("simulated" in w for w in p.warnings)
    assert "limit care" in p.caution
    assert p.missing == ()


def test_inputs_stand_with_who_said_them(expansion, bleed):
    used = dict(expansion.predict(MEASURED, bleed, FACTS).used)
    assert used["hours from onset to CT"] == "2.0 (entered by B)"
    assert "15.0 mL" in used["hematoma volume"]


def test_a_missing_fact_is_named_and_widens_the_interval(expansion, bleed):
    whole = expansion.predict(MEASURED, bleed, FACTS).estimates[0]
    less = expansion.predict(MEASURED, bleed, replace(FACTS, onset_to_ct_h=None))
    assert "hours from onset to CT" in less.missing
    wide = less.estimates[0] if less.estimates else None
    assert wide is None or wide.high - wide.low > whole.high - whole.low


def test_without_any_fact_nothing_is_shown_or_the_interval_says_so(expansion, bleed):
    p = expansion.predict(MEASURED, bleed, ClinicalFacts())
    assert p.missing
    assert p.abstained.startswith("not computable: without ") or p.estimates[0].high - p.estimates[0].low > 20


def test_a_higher_image_score_earlier_scan_and_larger_bleed_raise_the_chance(expansion, bleed):
    def chance(measured=MEASURED, found=bleed, facts=FACTS) -> float:
        return expansion.predict(measured, found, facts).estimates[0].value

    base = chance()
    image = expansion._model.image
    towards = {n: FEATURES[n] + 0.3 * np.sign(c) for n, c in zip(image.names, image.coefficients, strict=True)}
    assert chance({**MEASURED, "features": {**FEATURES, **towards}}) > base
    assert chance(facts=replace(FACTS, onset_to_ct_h=9.0)) < base


@pytest.mark.parametrize(
    ("measured", "named"),
    [
        ({"abstained": "no skull was found"}, "no skull was found"),
        ({}, "not measured"),
        ({"features": dict.fromkeys(FEATURES, float("nan")), "ml": 15.0}, "not measured"),
        ({"features": "1", "ml": 15.0}, "not measured"),
        ({"features": FEATURES, "ml": True}, "not measured"),
        ({"features": {}, "ml": 15.0}, "not measured"),
        ({"features": FEATURES, "ml": 2.0}, "this model sees 2.0 mL where detection measured 15.0 mL"),
    ],
)
def test_what_was_not_measured_or_disagrees_abstains_by_name(expansion, bleed, measured, named):
    assert named in expansion.predict(measured, bleed, FACTS).abstained


def test_traumatic_extra_axial_tiny_and_young_abstain(expansion, bleed):
    assert "trauma" in expansion.predict(MEASURED, bleed, replace(FACTS, trauma=True)).abstained
    assert "years" in expansion.predict(MEASURED, bleed, replace(FACTS, age_years=12)).abstained
    assert expansion.predict(MEASURED, detection(piece("sdh")), FACTS).abstained
    assert "1 mL" in expansion.predict({**MEASURED, "ml": 0.4}, detection(piece(ml=0.4)), FACTS).abstained


def test_same_input_gives_the_same_answer(expansion):
    found = detection(piece(ml=15.0), IVH)
    assert expansion.predict(MEASURED, found, FACTS) == expansion.predict(MEASURED, found, FACTS)


# ---- pixels -------------------------------------------------------------------------------------------------------------


def test_scan_of_a_head_is_laid_out_as_the_pictures_of_training():
    picture = picture_of(head(12, 0, slices=32, size=128).volume)
    assert not isinstance(picture, str)
    assert picture.shape == SHAPE
    usual = np.mean([stored(render(v, 0).hu) == 255 for v in virtual_cohort(6, 4)], axis=0)
    bone = picture == 255
    for axes in ((1, 2), (0, 2), (0, 1)):  # bone begins and ends where the training heads have it
        where, wanted = (np.flatnonzero(b.sum(axis=axes) > 15) for b in (bone, usual))
        assert abs(int(where[-1]) - int(wanted[-1])) <= (2 if axes == (1, 2) else 7)


def test_thickness_and_size_change_the_picture_little():
    a, b = (
        picture_of(head(12, 0, slices=n, slice_thickness_mm=mm, size=128).volume) for n, mm in ((30, 5.0), (60, 2.5))
    )
    assert np.abs(a.astype(float) - b).mean() < 12


def test_scan_without_a_skull_or_not_axial_is_declined_by_name():
    volume = head(12, 0, slices=12, size=128).volume
    assert picture_of(replace(volume, hu=np.full_like(volume.hu, 30))) == "no skull was found"
    turned = replace(volume, column_cosine=np.array([0.0, 0.0, -1.0]))
    assert picture_of(turned) == "the slices are not axial"


def test_measure_gives_json_and_sees_a_drawn_bleed(expansion):
    volume = head(12, 0, slices=32, size=128, bleeds=(Bleed("iph", 30.0, (24.0, 4.0, 8.0)),)).volume
    measured = expansion.measure(volume, detection(piece()))
    assert json.loads(json.dumps(measured)) == measured
    assert set(measured["features"]) == set(IMAGE)
    assert measured["ml"] > 15


def test_finer_head_that_no_training_read_is_measured_and_a_volume_far_from_detections_keeps_it_silent(expansion):
    volume = head(12, 0, slices=32, size=128, bleeds=(Bleed("iph", 30.0, (24.0, 4.0, 8.0)),)).volume
    found = detection(piece(ml=30.0))
    measured = expansion.measure(volume, found)
    assert measured["ml"] == pytest.approx(30, rel=0.25)
    assert not expansion.predict(measured, found, FACTS).abstained
    far = expansion.predict(measured, detection(piece(ml=90.0)), FACTS)
    assert "where detection measured 90.0 mL" in far.abstained


def test_network_measures_the_volume_of_virtual_bleeds(expansion):
    wrong = []
    for v in virtual_cohort(24, 77):
        wrong.append(abs(expansion.read(stored(render(v, 3).hu))["ml"] - v.bleed.volume_ml) / max(v.bleed.volume_ml, 4))
    assert np.median(wrong) < 0.2


def test_scans_that_the_node_lays_out_are_answered_and_their_volume_is_right(expansion):
    """Sharp bone that is laid out anew is half bone, half air in places, which looks like blood."""
    said, wrong = [], []
    for k in range(24):
        s = scan(k)
        ml = float(s.image.blood.sum() * VOXEL_ML)
        found = detection(piece(ml=ml))
        measured = expansion.measure(s.volume, found)
        said.append(expansion.predict(measured, found, FACTS).abstained)
        wrong.append(abs(measured["ml"] - ml) / max(ml, 4))
    assert sum(not reason for reason in said) >= 20, said
    assert np.median(wrong) < 0.2


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"definition": 3}'])
def test_model_file_of_another_shape_is_refused(text):
    with pytest.raises(ManifestInvalid, match=r"expansion\.json"):
        ExpansionModel.from_json(text)
