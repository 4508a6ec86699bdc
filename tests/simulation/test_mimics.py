"""Mimics change the picture, never the skull's inside, and never by chance."""

from __future__ import annotations

import numpy as np
import pytest

from triage_node.simulation import mimics
from triage_node.simulation.bleeds import KINDS, Head, draw
from triage_node.simulation.mimics import MIMICS, dress, plastic_phantom
from triage_node.simulation.phantom import head as phantom_head


@pytest.fixture(scope="module")
def head() -> Head:
    made = phantom_head(12, 1, 20, 7.0, size=256, age_years=60)
    hu = np.clip(made.volume.hu[:, 32:224, 32:224], 0, 100).astype(np.float32)
    return Head(hu, made.truth.intracranial[:, 32:224, 32:224], 30.0, made.volume.pixel_spacing_mm[0], 7.0)


@pytest.mark.parametrize("name", MIMICS)
def test_mimic_changes_its_part_of_the_head_reproducibly(head, name):
    change = MIMICS[name][1]
    before = head.hu.copy()
    a, b = (change(head, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(a, b)
    assert a.shape == before.shape
    assert np.isfinite(a).all()
    where = ~head.intracranial if name == "scalp" else head.intracranial
    assert np.abs(a - before)[where].max() > 1
    assert name != "scalp" or np.array_equal(a[head.intracranial], before[head.intracranial])
    assert np.array_equal(head.hu, before), "the head that was given is left alone"


@pytest.mark.parametrize("name", ["choroid calcium", "pineal calcium", "dense falx", "tentorium", "dense sinus"])
def test_calcium_falx_tentorium_and_sinus_are_brighter_than_before(head, name):
    changed = MIMICS[name][1](head, np.random.default_rng(2)) - head.hu
    assert changed.max() > 5
    assert changed.min() > -1


@pytest.mark.parametrize("name", ["infarct", "wide sulci", "atrophy"])
def test_infarct_and_sulci_are_darker_than_before(head, name):
    changed = MIMICS[name][1](head, np.random.default_rng(3)) - head.hu
    assert changed.min() < -3


def test_dress_draws_each_mimic_about_as_often_as_its_chance(head, monkeypatch):
    asked = {name: (chance, lambda h, rng: h.hu) for name, (chance, _) in MIMICS.items()}
    monkeypatch.setattr(mimics, "MIMICS", asked)
    names = [n for s in range(300) for n in dress(head, np.random.default_rng(s))[1]]
    for name, (chance, _) in MIMICS.items():
        assert abs(names.count(name) / 300 - chance) < 0.1
    assert 0 < names.count("plastic phantom") < 20


def test_a_dressed_head_is_the_same_for_the_same_seed_and_stays_finite(head):
    (a, names), (b, again) = (dress(head, np.random.default_rng(8)) for _ in range(2))
    assert names == again
    assert np.array_equal(a.hu, b.hu)
    assert np.isfinite(a.hu).all()


def test_gyri_between_open_sulci_reach_the_table_brighter_than_the_fluid_beside_them(head):
    rim = head.intracranial & (head.depth_mm > 2) & (head.depth_mm < 8) & (head.hu < 60)
    before, after = head.hu[rim], MIMICS["wide sulci"][1](head, np.random.default_rng(1))[rim]
    assert after.std() > before.std() + 1
    assert np.quantile(after, 0.9) > np.quantile(before, 0.9) - 1, "crowns stay as bright as cortex"


def test_a_plastic_phantom_has_round_inserts_and_nothing_bleeds_in_it(head):
    made = plastic_phantom(head, np.random.default_rng(3))
    inside = made.hu[head.cavity]
    assert made.plastic
    assert np.quantile(inside, 0.75) - np.quantile(inside, 0.25) < 12
    assert np.abs(inside - np.median(inside)).max() > 20
    for kind in KINDS:
        assert draw(kind, made, np.random.default_rng(1)) is None


def test_head_of_a_few_slices_is_left_as_it_is(head):
    small = Head(head.hu[:3], head.intracranial[:3], 30.0)
    assert dress(small, np.random.default_rng(0)) == (small, ())
