"""The phantom: same seeds same bytes, other seeds other heads, densities and truth as stated."""

import numpy as np
import pytest

from triage_node.simulation.phantom import head


def small(seed: int, noise: int = 1, **options):
    return head(seed, noise, slices=12, slice_thickness_mm=10.0, size=128, **options)


def test_same_seeds_give_the_same_bytes_and_uids():
    a, b = small(3), small(3)
    assert a.volume.hu.tobytes() == b.volume.hu.tobytes()
    assert a.volume.sop_instance_uids == b.volume.sop_instance_uids


def test_another_noise_seed_keeps_the_anatomy_and_another_anatomy_seed_does_not():
    a, b, c = small(3), small(3, noise=2), small(4)
    assert np.array_equal(a.truth.ventricles, b.truth.ventricles)
    assert not np.array_equal(a.volume.hu, b.volume.hu)
    assert not np.array_equal(a.truth.ventricles, c.truth.ventricles)


def test_densities_are_those_of_brain_fluid_bone_and_air():
    p = small(5, age_years=70)
    hu, truth = p.volume.hu, p.truth
    assert 26 <= np.median(hu[truth.brain]) <= 40
    assert 0 <= np.median(hu[truth.ventricles]) <= 18
    assert hu.max() > 900
    assert np.median(hu[:, :4, :4]) == -1000


def test_the_cranium_holds_a_human_volume():
    for seed in (1, 2):
        p = head(seed, 1, slices=16, slice_thickness_mm=10.0, size=128)
        assert 1000 <= p.volume.volume_ml(p.truth.intracranial) <= 1900


def test_unusable_parameters_are_refused_by_name():
    with pytest.raises(ValueError, match="size"):
        head(1, 1, size=100)
    with pytest.raises(ValueError, match="slices"):
        head(1, 1, slices=0)
