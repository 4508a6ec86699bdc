"""Two neighbours decide; one loud slice alone counts half; every way of joining slices grows with each of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from triage_node.bundle.load import load_bundle
from triage_node.bundle.manifest import Lines
from triage_node.detection.study_score import AGGREGATIONS, Scoring, scoring_of, study_probability


def logistic(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def test_best_pair_of_neighbours_decides_and_not_two_loud_slices_apart():
    near = np.array([-4, 2, 3, -4, -4], np.float32)
    apart = np.array([2, -4, 3, -4, -4], np.float32)
    assert study_probability(near) == pytest.approx(logistic(2.5))
    assert study_probability(apart) == pytest.approx(logistic(-0.5))


def test_single_slice_counts_for_itself():
    assert study_probability(np.array([2.0], np.float32)) == pytest.approx(logistic(2.0))


def test_noisy_or_is_one_minus_the_product():
    logits = np.array([-1.0, 0.5, 2.0])
    p = 1 - np.prod(1 - logistic(logits))
    assert logistic(AGGREGATIONS["noisy-or"](logits)) == pytest.approx(p)
    assert np.isfinite(AGGREGATIONS["noisy-or"](np.array([40.0, 40.0])))
    assert np.isfinite(AGGREGATIONS["noisy-or"](np.array([-40.0, -40.0])))


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_no_slice_that_rises_lowers_the_study(name):
    rng = np.random.default_rng(0)
    for n in (1, 2, 30):
        logits = rng.normal(0, 2, n)
        before = AGGREGATIONS[name](logits)
        for i in range(n):
            higher = logits.copy()
            higher[i] += 1
            assert AGGREGATIONS[name](higher) >= before - 1e-12


def test_calibration_bends_study_and_slices_apart():
    s = Scoring("max", slope=2.0, offset=-1.0, slice_slope=0.5, slice_offset=0.25)
    logits = np.array([-2.0, 1.0, 0.0])
    assert s.study(logits) == pytest.approx(logistic(1.0))
    assert s.slices(logits) == pytest.approx(logistic(0.5 * logits + 0.25), abs=1e-6)


def test_pictures_have_lines_of_their_own_where_the_bundle_holds_them():
    bundle = load_bundle(Path(__file__).resolve().parents[2] / "models" / "bloodnet").manifest
    own = bundle.calibration["ich"].model_copy(
        update={"picture": Lines(slope=2, offset=-3, slice_slope=0.5, slice_offset=4)}
    )
    manifest = bundle.model_copy(update={"calibration": {"ich": own}})
    assert scoring_of(manifest, picture=True) == Scoring(own.aggregation, 2, -3, 0.5, 4)
    assert scoring_of(manifest) == Scoring(own.aggregation, own.slope, own.offset, own.slice_slope, own.slice_offset)
    without = bundle.model_copy(update={"calibration": {"ich": own.model_copy(update={"picture": None})}})
    assert scoring_of(without, picture=True) == scoring_of(without)
