"""The phantom: same seeds same bytes, other seeds other heads, densities and truth as stated."""

from functools import cache

import numpy as np
import pytest

from triage_node.simulation.phantom import head
from triage_node.simulation.phantom_bleeds import Bleed


def small(seed: int, noise: int = 1, **options):
    return head(seed, noise, slices=12, slice_thickness_mm=10.0, size=128, **options)


@cache
def coarse(seed: int):
    """Looked at by several tests and changed by none."""
    return head(seed, 1, slices=16, slice_thickness_mm=10.0, size=128)


@cache
def plain():
    return head(9, 1, 30, 5.0, size=128)


@cache
def with_clot():
    return head(9, 1, 30, 5.0, size=128, bleeds=(Bleed("iph", 40.0, (27.0, 4.0, 6.0)),))


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
    for seed in (11, 12, 13):
        p = coarse(seed)
        assert 1000 <= p.volume.volume_ml(p.truth.intracranial) <= 1900


def test_unusable_parameters_are_refused_by_name():
    with pytest.raises(ValueError, match="size"):
        head(1, 1, size=100)
    with pytest.raises(ValueError, match="slices"):
        head(1, 1, slices=0)
    with pytest.raises(ValueError, match="age_years"):
        head(1, 1, age_years=6)


def test_a_head_always_lies_inside_the_field_of_view_and_under_the_top_slice():
    for seed in (11, 12, 13):
        p = coarse(seed)
        assert not p.truth.intracranial[-1].any()
        assert not p.truth.intracranial[:, [0, -1], :].any()
        assert not p.truth.intracranial[:, :, [0, -1]].any()


def with_subdural():
    return head(9, 1, 30, 5.0, size=128, bleeds=(Bleed("sdh", 10.0, (27.0, 4.0, 6.0)),))


@pytest.mark.parametrize(("made", "kind", "low", "high"), [(with_clot, "iph", 30, 50), (with_subdural, "sdh", 25, 120)])
def test_a_drawn_bleed_has_its_volume_and_is_dense(made, kind, low, high):
    p = made()
    assert p.truth.kinds == (kind,)
    assert low <= p.truth.volumes_ml[kind] <= high
    assert 52 <= np.median(p.volume.hu[p.truth.bleed == 1]) <= 75


def test_blood_in_the_cisterns_and_ventricles_replaces_fluid_only():
    bled = head(9, 1, 30, 5.0, size=128, bleeds=(Bleed("sah", 55.0), Bleed("ivh", 55.0)))
    assert bled.truth.kinds == ("sah", "ivh")
    fluid = plain().truth.csf | plain().truth.ventricles
    assert (fluid[bled.truth.bleed > 0]).mean() > 0.95
    assert np.array_equal(plain().truth.brain, bled.truth.brain)


def test_a_large_clot_pushes_the_midline_away():
    columns = np.arange(128)
    before, after = (
        float((p.truth.ventricles.sum(axis=(0, 1)) * columns).sum() / p.truth.ventricles.sum())
        for p in (plain(), with_clot())
    )
    assert after < before - 0.5


def test_a_bleed_of_no_known_kind_is_refused_by_name():
    with pytest.raises(ValueError, match="kind"):
        Bleed("edh2", 3.0)
    with pytest.raises(ValueError, match="size"):
        Bleed("iph", -1.0)


def test_a_head_rest_lies_under_the_head_in_every_slice():
    p = head(9, 1, 12, 10.0, size=128)
    lowest = int(np.flatnonzero(p.truth.intracranial.any(axis=(0, 2)))[-1])
    rest = (p.volume.hu[:, lowest:, 64] > -500).all(axis=0)
    assert rest.any()
    assert not rest[0]
