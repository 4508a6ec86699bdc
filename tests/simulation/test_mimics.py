"""Mimics change the picture, never the skull's inside, and never by chance."""

from __future__ import annotations

import numpy as np
import pytest

from triage_node.simulation.bleeds import Head
from triage_node.simulation.mimics import MIMICS, dress
from triage_node.simulation.phantom import head as phantom_head


@pytest.fixture(scope="module")
def head() -> Head:
    made = phantom_head(12, 1, 28, 5.0, size=256, age_years=60)
    hu = np.clip(made.volume.hu[:, 32:224, 32:224], 0, 100).astype(np.float32)
    return Head(hu, made.truth.intracranial[:, 32:224, 32:224], 30.0, made.volume.pixel_spacing_mm[0], 5.0)


@pytest.mark.parametrize("name", MIMICS)
def test_mimic_changes_the_inside_of_the_skull_reproducibly(head, name):
    change = MIMICS[name][1]
    before = head.hu.copy()
    a, b = (change(head, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(a, b)
    assert a.shape == before.shape
    assert np.isfinite(a).all()
    assert np.abs(a - before)[head.intracranial].max() > 1
    assert np.array_equal(head.hu, before), "the head that was given is left alone"


@pytest.mark.parametrize("name", ["choroid calcium", "pineal calcium", "dense falx", "tentorium", "dense sinus"])
def test_calcium_falx_tentorium_and_sinus_are_brighter_than_before(head, name):
    changed = MIMICS[name][1](head, np.random.default_rng(2)) - head.hu
    assert changed.max() > 5
    assert changed.min() > -1


@pytest.mark.parametrize("name", ["infarct", "wide sulci"])
def test_infarct_and_sulci_are_darker_than_before(head, name):
    changed = MIMICS[name][1](head, np.random.default_rng(3)) - head.hu
    assert changed.min() < -3


def test_dress_draws_each_mimic_about_as_often_as_its_chance(head):
    names = [n for s in range(40) for n in dress(head, np.random.default_rng(s))[1]]
    for name, (chance, _) in MIMICS.items():
        assert abs(names.count(name) / 40 - chance) < 0.27


def test_head_of_a_few_slices_is_left_as_it_is(head):
    small = Head(head.hu[:3], head.intracranial[:3], 30.0)
    assert dress(small, np.random.default_rng(0)) == (small, ())
