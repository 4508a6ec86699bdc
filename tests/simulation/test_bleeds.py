"""Simulated bleeds: where they belong, as dense as they say, the same for the same seed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from triage_node.simulation.bleeds import KINDS, SUBTYPES, Head, Wanted, draw
from triage_node.simulation.phantom import head as phantom_head


@pytest.fixture(scope="module")
def head() -> Head:
    made = phantom_head(11, 1, 20, 7.0, size=256, age_years=74)
    hu = np.clip(made.volume.hu[:, 32:224, 32:224], 0, 100).astype(np.float32)
    return Head(hu, made.truth.intracranial[:, 32:224, 32:224], 30.0, made.volume.pixel_spacing_mm[0], 7.0)


@pytest.mark.parametrize("kind", KINDS)
def test_bleed_lies_inside_the_skull_and_is_brighter_than_what_it_replaced(head, kind):
    for seed in range(3):
        drawn = draw(kind, head, np.random.default_rng(seed))
        assert drawn is not None
        assert drawn.kind == kind
        assert drawn.mask.any()
        assert not (drawn.mask & ~head.intracranial).any()
        assert drawn.hu.shape == head.hu.shape
        assert np.isfinite(drawn.hu).all()
        if drawn.facts["subtype"] not in ("chronic", "isodense", "layered", "mixed", "post-operative"):
            assert drawn.hu[drawn.mask].mean() > head.hu[drawn.mask].mean() + 5


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_draws_the_same_bleed_and_another_seed_another(head, kind):
    a, b, c = (draw(kind, head, np.random.default_rng(s)) for s in (5, 5, 6))
    assert np.array_equal(a.hu, b.hu)
    assert a.facts == b.facts
    assert not np.array_equal(a.mask, c.mask)


def test_parenchymal_bleed_has_the_volume_it_was_asked_for(head):
    found = [draw("iph", head, np.random.default_rng(s), wanted=Wanted("deep", volume_ml=10.0)) for s in range(6)]
    ml = [d.mask.sum() * head.voxel_ml for d in found if d is not None]
    assert np.median(ml) == pytest.approx(10, rel=0.3)


@pytest.mark.parametrize(("kind", "subtype"), [(k, s) for k, names in SUBTYPES.items() for s in names])
def test_every_subtype_can_be_asked_for_and_says_what_it_is(head, kind, subtype):
    drawn = draw(kind, head, np.random.default_rng(3), tries=12, wanted=Wanted(subtype))
    assert drawn is not None
    assert drawn.facts["subtype"] == subtype
    assert {"place", "hu", "volume_ml"} <= drawn.facts.keys()
    assert drawn.facts["volume_ml"] == pytest.approx(drawn.mask.sum() * head.voxel_ml, rel=0.01)
    if kind in ("sdh", "edh"):
        assert float(drawn.facts["thickness_mm"]) > 1


@pytest.mark.parametrize(("kind", "mm"), [("sdh", 3.0), ("sdh", 9.0), ("edh", 4.0), ("edh", 16.0)])
def test_thickness_is_about_what_was_asked_for(head, kind, mm):
    sub = {"sdh": "acute", "edh": "thick"}[kind]
    found = [
        draw(kind, head, np.random.default_rng(s), tries=12, wanted=Wanted(sub, thickness_mm=mm)) for s in range(3)
    ]
    assert np.median([float(d.facts["thickness_mm"]) for d in found]) == pytest.approx(mm, rel=0.3)


def test_blood_is_as_dense_as_its_facts_say(head):
    for seed in range(3):
        drawn = draw("iph", head, np.random.default_rng(seed), wanted=Wanted("deep", volume_ml=15.0))
        assert np.median(drawn.hu[drawn.mask]) == pytest.approx(float(drawn.facts["hu"]), abs=6)


def test_a_large_clot_moves_the_midline_and_an_isodense_crescent_hides_in_the_grey_matter(head):
    found = draw("sdh", head, np.random.default_rng(5), wanted=Wanted("isodense", thickness_mm=12.0))
    assert abs(np.median(found.hu[found.mask]) - head.tissue_hu) < 12
    x, _ = head.grid_mm
    middle = head.intracranial & (np.abs(x) < 6)
    assert np.abs(found.hu - head.hu)[middle].mean() > 0.05


def test_a_picture_of_the_same_head_keeps_what_was_measured_on_its_skull(head):
    other = head.with_hu(head.hu + 3)
    assert other.depth_mm is head.depth_mm
    assert other.smooth is not head.smooth


def test_blood_keeps_the_grain_of_the_picture(head):
    drawn = draw("iph", head, np.random.default_rng(1), wanted=Wanted("deep", volume_ml=20.0))
    other = Head(drawn.hu, head.intracranial, 30.0)
    inside = drawn.mask & (head.depth_mm > 6)
    assert other.grain[inside].std() > 0.5 * head.grain[head.intracranial & (head.depth_mm > 6)].std()


def test_subdural_presses_the_brain_instead_of_cutting_it(head):
    drawn = draw("sdh", head, np.random.default_rng(2), wanted=Wanted("acute", thickness_mm=14.0))
    beside = head.intracranial & ~drawn.mask
    changed = np.abs(drawn.hu - head.hu)[beside] > 1
    assert changed.mean() > 0.005


def test_head_without_an_inside_has_no_place_and_an_unknown_kind_is_refused(head):
    nothing = Head(head.hu, np.zeros_like(head.intracranial), 30.0)
    assert draw("iph", nothing, np.random.default_rng(0)) is None
    with pytest.raises(ValueError, match="kind must be one of"):
        draw("tumour", head, np.random.default_rng(0))
    with pytest.raises(ValueError, match="subtype of sdh must be one of"):
        draw("sdh", head, np.random.default_rng(0), wanted=Wanted("old"))


def test_simulation_of_bleeds_and_mimics_needs_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None; import triage_node.simulation.mimics, triage_node.simulation.bleeds"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
