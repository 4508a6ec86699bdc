"""Pictures of virtual patients show what the facts say, and nothing of the label but through the facts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from triage_node.simulation.cohort import VirtualPatient, virtual_cohort
from triage_node.simulation.cohort_images import SHAPE, VOXEL_ML, CohortImage, render

SIGNS = ("swirl", "hypodensity", "blend", "black_hole", "island", "fluid_level")
NO_SIGNS = dict.fromkeys(SIGNS, False)


@pytest.fixture(scope="module")
def cohort() -> list[VirtualPatient]:
    return virtual_cohort(160, 21)


@pytest.fixture(scope="module")
def images(cohort) -> list[CohortImage]:
    return [render(v, 0) for v in cohort]


def deep_bleed(cohort, ml: float, **signs: bool) -> VirtualPatient:
    v = cohort[0]
    return replace(
        v, bleed=replace(v.bleed, volume_ml=ml, place="deep", side=1, ivh_ml=0.0, **{**NO_SIGNS, **signs}), seed=5
    )


def test_same_seed_gives_the_same_picture_and_another_seed_another(cohort, images):
    again, other = render(cohort[0], 0), render(cohort[0], 1)
    assert np.array_equal(again.hu, images[0].hu)
    assert np.array_equal(again.blood, images[0].blood)
    assert not np.array_equal(other.hu, images[0].hu)


def test_every_picture_has_one_shape_and_type(images):
    assert {i.hu.shape for i in images} == {SHAPE}
    assert {i.hu.dtype for i in images} == {np.dtype(np.int16)}


def test_volume_in_the_picture_is_the_volume_drawn(cohort, images):
    for v, i in zip(cohort, images, strict=True):
        if v.bleed.place != "brainstem":
            assert abs(i.blood.sum() * VOXEL_ML - v.bleed.volume_ml) <= max(0.03, 0.02 * v.bleed.volume_ml), v.key
        assert i.in_ventricles.any() == v.bleed.ivh
        assert not (i.blood & i.in_ventricles).any()


def test_place_in_the_picture_is_the_place_drawn(cohort, images):
    z, y, x = (np.arange(n) for n in SHAPE)
    for v, i in zip(cohort, images, strict=True):
        if v.bleed.volume_ml > 60:
            continue
        centre_x = (i.blood.sum(axis=(0, 1)) * x).sum() / i.blood.sum()
        centre_z = (i.blood.sum(axis=(1, 2)) * z).sum() / i.blood.sum()
        if v.bleed.place in ("lobar", "deep", "cerebellum"):
            assert (centre_x > 47.5) == (v.bleed.side > 0), v.key
        assert (centre_z < 9) == (v.bleed.place in ("cerebellum", "brainstem")) or v.bleed.place == "lobar", v.key


def test_blood_is_brighter_than_the_brain_around_it(images):
    for i in images:
        brain = i.inside & ~i.blood_mask & (i.hu > 15) & (i.hu < 50)
        assert np.median(i.hu[i.blood]) > np.median(i.hu[brain]) + 8


def test_old_heads_have_more_fluid_than_young_ones(cohort):
    def fluid(age: int) -> float:
        found = []
        for v in cohort[:12]:
            i = render(replace(v, truth=replace(v.truth, age_years=age)), 0)
            found.append(((i.hu < 18) & i.inside).sum() / i.inside.sum())
        return float(np.mean(found))

    assert fluid(30) < fluid(60) < fluid(90)


@pytest.mark.parametrize("sign", ["swirl", "hypodensity", "blend", "black_hole", "fluid_level"])
def test_a_sign_makes_the_clot_uneven(cohort, sign):
    spread = []
    for seed in range(6):
        plain, signed = render(deep_bleed(cohort, 25), seed), render(deep_bleed(cohort, 25, **{sign: True}), seed)
        spread.append(signed.hu[signed.blood].std() / plain.hu[plain.blood].std())
    assert np.mean(spread) > 1.15


def test_black_hole_lies_28_hu_or_more_under_the_clot(cohort):
    found = [render(deep_bleed(cohort, 30, black_hole=True), seed) for seed in range(6)]
    drops = [np.median(i.hu[i.blood]) - np.sort(i.hu[i.blood])[: int(0.03 * i.blood.sum())].mean() for i in found]
    assert np.median(drops) >= 28


def test_label_is_not_read(cohort):
    v = cohort[3]
    other = replace(v.outcome, follow_up_ml=999.0, died_30_days=not v.outcome.died_30_days)
    swapped = replace(v, outcome=other, p=replace(v.p, expansion=0.0), recorded=replace(v.recorded, gcs=None))
    assert np.array_equal(render(v, 0).hu, render(swapped, 0).hu)


def test_air_background_and_bone_tell_nothing_of_growth(cohort, images):
    """What has no blood in it, brightness of the whole and count of empty slices, must be worth a coin (ML.md 9.4 b)."""
    grown = np.array([v.expanded() for v in cohort])
    facts = np.array(
        [[(i.hu > 300).sum(), (i.hu < -500).sum(), i.hu[0].mean(), i.hu[-1].mean()] for i in images], float
    )
    facts = (facts - facts.mean(axis=0)) / facts.std(axis=0)
    half = len(cohort) // 2
    scores = np.zeros(len(cohort))
    for train, test in ((slice(half), slice(half, None)), (slice(half, None), slice(half))):
        scores[test] = LogisticRegression().fit(facts[train], grown[train]).predict_proba(facts[test])[:, 1]
    assert abs(roc_auc_score(grown, scores) - 0.5) < 0.13  # 3 deviations at this size
