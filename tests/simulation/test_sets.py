"""Simulated test studies: what was asked for is in them, a seed gives the same bits, and they are cases like any other."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from triage_node.simulation.bleeds import KINDS, Head
from triage_node.simulation.phantom import head as phantom_head
from triage_node.simulation.scanners import SCANS
from triage_node.simulation.sets import SPECS, Spec, case_of, shown_by, simulated_study


@pytest.fixture(scope="module")
def head() -> Head:
    made = phantom_head(13, 1, 20, 7.0, size=256, age_years=70)
    hu = np.clip(made.volume.hu[:, 32:224, 32:224], 0, 100).astype(np.float32)
    return Head(hu, made.truth.intracranial[:, 32:224, 32:224], 30.0, made.volume.pixel_spacing_mm[0], 7.0)


def digest(study) -> str:
    return hashlib.sha256(study.head.hu.tobytes() + study.label.tobytes() + repr(study.facts).encode()).hexdigest()


@pytest.mark.parametrize("name", ["none, mimics", "iph", "ivh", "sah", "sdh", "edh"])
def test_a_seed_reproduces_a_case_bit_for_bit_and_another_seed_makes_another(head, name):
    spec = replace(SPECS[name], scan=SCANS["noise 3 HU"], dressed=name in ("none, mimics", "sdh"))
    fresh = Head(head.hu.copy(), head.intracranial.copy(), head.tissue_hu, head.pixel_mm, head.slice_mm)
    assert digest(simulated_study(head, spec, 5)) == digest(simulated_study(fresh, spec, 5))
    assert digest(simulated_study(head, spec, 5)) != digest(simulated_study(head, spec, 6))


@pytest.mark.parametrize(
    ("name", "fact", "low", "high"),
    [
        ("sdh under 5 mm", "thickness_mm", 1.8, 5),
        ("edh under 5 mm", "thickness_mm", 1.8, 5),
        ("sdh acute over 10 mm", "thickness_mm", 10, 25),
        ("iph under 1 mL", "volume_ml", 0.1, 1),
        ("iph 1-5 mL", "volume_ml", 1, 5),
        ("iph over 5 mL", "volume_ml", 5, 80),
        ("sah under 1 mL", "volume_ml", 0.05, 1),
    ],
)
def test_strata_hold_what_their_name_says(head, name, fact, low, high):
    found = [simulated_study(head, SPECS[name], seed) for seed in range(2)]
    values = [float(s.facts[fact]) for s in found if s is not None]
    assert values
    assert all(low <= v <= high for v in values)


def test_a_head_without_blood_has_no_label_and_mimics_only_when_asked_for(head):
    plain, dressed = (simulated_study(head, SPECS[n], 3) for n in ("none", "none, mimics"))
    assert not plain.label.any()
    assert not dressed.label.any()
    assert plain.slice_labels == (0,) * len(head.hu)
    assert plain.mimics == ()
    assert dressed.mimics
    assert np.array_equal(plain.head.hu, head.hu)


def test_another_scanner_moves_picture_and_label_together(head):
    made = simulated_study(head, shown_by(SPECS["iph over 5 mL"], SCANS["2.5 mm"]), 2)
    assert made.head.slice_mm == 2.5
    assert len(made.head.hu) == len(made.label) == 56
    assert (made.label > 0).sum() * made.head.voxel_ml == pytest.approx(float(made.facts["volume_ml"]), rel=0.3)
    assert np.median(made.head.hu[made.label > 0]) > 45
    assert not (made.label.astype(bool) & ~made.head.intracranial).any()


def test_a_study_is_a_case_that_says_it_is_simulated(head):
    study = simulated_study(head, SPECS["sdh chronic"], 1)
    case = case_of(study, "patient 7", "7-sdh-1")
    assert case.simulated
    assert case.patient_id == "patient 7"
    assert case.labels.study_label == 1
    assert case.labels.study_subtypes == {k: int(k == "sdh") for k in KINDS}
    assert np.array_equal(np.stack(case.labels.mask.load()), study.label)
    assert np.array_equal(case.load().hu, study.head.hu)
    assert case.labels.volume_ml == pytest.approx(float(study.facts["volume_ml"]), abs=0.01)
    assert case.labels.clinical["simulated subtype"] == "chronic"
    negative = case_of(simulated_study(head, SPECS["none"], 1), "patient 7", "7-none-1")
    assert negative.labels.study_label == 0
    assert negative.labels.volume_ml is None


def test_an_accident_holds_several_kinds_and_the_label_keeps_them_apart(head):
    study = simulated_study(head, replace(SPECS["trauma"], dressed=False), 4)
    assert {"sdh", "sah", "iph"} == set(study.kinds)
    case = case_of(study, "p", "s")
    assert case.labels.study_subtypes == {"iph": 1, "ivh": 0, "sah": 1, "sdh": 1, "edh": 0}


def test_a_study_that_cannot_be_is_none_and_a_wish_without_sense_is_refused(head):
    nothing = Head(head.hu, np.zeros_like(head.intracranial), 30.0)
    assert simulated_study(nothing, Spec("iph", dressed=False), 1) is None
    with pytest.raises(ValueError, match="kind must be"):
        Spec("tumour")
    with pytest.raises(ValueError, match="also"):
        Spec(also=("sdh",))
    with pytest.raises(ValueError, match="no subtype"):
        Spec("sdh", "basal")
    with pytest.raises(ValueError, match="thickness"):
        Spec("iph", thickness_mm=(1, 2))
    with pytest.raises(ValueError, match="grows"):
        Spec("sdh", thickness_mm=(5, 2))
