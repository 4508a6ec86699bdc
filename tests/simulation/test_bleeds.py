"""Simulated bleeds: where they belong, as dense as they say, the same for the same seed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from triage_node.simulation.bleeds import KINDS, Head, Wanted, draw
from triage_node.simulation.phantom import head as phantom_head


@pytest.fixture(scope="module")
def head() -> Head:
    made = phantom_head(11, 1, 28, 5.0, size=256, age_years=74)
    hu = np.clip(made.volume.hu[:, 32:224, 32:224], 0, 100).astype(np.float32)
    return Head(hu, made.truth.intracranial[:, 32:224, 32:224], 30.0, made.volume.pixel_spacing_mm[0], 5.0)


@pytest.mark.parametrize("kind", KINDS)
def test_bleed_lies_inside_the_skull_and_is_brighter_than_what_it_replaced(head, kind):
    for seed in range(4):
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
    found = [draw("iph", head, np.random.default_rng(s), wanted=Wanted("deep", volume_ml=10.0)) for s in range(12)]
    ml = [d.mask.sum() * head.pixel_mm**2 * head.slice_mm / 1000 for d in found if d is not None]
    assert np.median(ml) == pytest.approx(10, rel=0.3)


def test_blood_keeps_the_grain_of_the_picture(head):
    drawn = draw("iph", head, np.random.default_rng(1), wanted=Wanted("deep", volume_ml=20.0))
    other = Head(drawn.hu, head.intracranial, 30.0)
    inside = drawn.mask & (head.depth_mm > 6)
    assert other.grain[inside].std() > 0.5 * head.grain[head.intracranial & (head.depth_mm > 6)].std()


def test_subdural_presses_the_brain_instead_of_cutting_it(head):
    drawn = next(
        d for d in (draw("sdh", head, np.random.default_rng(s)) for s in range(40))
        if d is not None and d.facts["subtype"] == "acute" and d.facts["thickness_mm"] > 10
    )  # fmt: skip
    beside = head.intracranial & ~drawn.mask
    changed = np.abs(drawn.hu - head.hu)[beside] > 1
    assert changed.mean() > 0.005


def test_head_without_an_inside_has_no_place_and_an_unknown_kind_is_refused(head):
    nothing = Head(head.hu, np.zeros_like(head.intracranial), 30.0)
    assert draw("iph", nothing, np.random.default_rng(0)) is None
    with pytest.raises(ValueError, match="kind must be one of"):
        draw("tumour", head, np.random.default_rng(0))


def test_simulation_of_bleeds_and_mimics_needs_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None; import triage_node.simulation.mimics, triage_node.simulation.bleeds"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
