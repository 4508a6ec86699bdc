"""The virtual cohort keeps what PAPERS.md 6.3 and ML.md 9.4 ask of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from triage_node.simulation.cohort import (
    EXPANSION_DEFINITIONS,
    RATES,
    USUAL,
    VirtualPatient,
    chances,
    ich_score,
    virtual_cohort,
)


@pytest.fixture(scope="module")
def cohort() -> list[VirtualPatient]:
    return virtual_cohort(4000, 11)


def of(cohort, fact) -> np.ndarray:
    return np.array([fact(v) for v in cohort], float)


def test_same_seed_gives_the_same_patients_and_a_smaller_cohort_is_the_beginning_of_a_larger():
    assert virtual_cohort(5, 3) == virtual_cohort(9, 3)[:5]
    assert virtual_cohort(5, 3) != virtual_cohort(5, 4)


def test_cohort_of_nobody_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        virtual_cohort(0, 1)


def test_every_rate_names_its_source_and_mark():
    assert all(r.source and r.mark in ("V", "U", "choice") for r in RATES.values())


def test_known_chances_are_what_the_coins_were_thrown_with(cohort):
    for label, p in (
        (of(cohort, lambda v: v.outcome.died_30_days), of(cohort, lambda v: v.p.death_30_days)),
        (of(cohort, lambda v: v.outcome.poor_90_days), of(cohort, lambda v: v.p.poor_90_days)),
        *((of(cohort, lambda v, d=d: v.expanded(d)), of(cohort, lambda v, d=d: v.p_expansion(d)))
          for d in EXPANSION_DEFINITIONS.values()),
    ):  # fmt: skip
        assert abs(label.mean() - p.mean()) < 3 * np.sqrt((p * (1 - p)).mean() / len(p))
        for low, high in ((0, 0.2), (0.2, 0.5), (0.5, 1)):
            part = (p >= low) & (p < high)
            if part.sum() > 200:
                assert abs(label[part].mean() - p[part].mean()) < 0.07


def test_rates_reach_the_published_aims(cohort):
    assert 0.35 < of(cohort, lambda v: v.bleed.place == "lobar").mean() < 0.45
    assert 0.10 < of(cohort, lambda v: v.bleed.place in ("cerebellum", "brainstem")).mean() < 0.17
    assert 0.30 < of(cohort, lambda v: v.bleed.ivh).mean() < 0.45
    assert 0.28 < of(cohort, lambda v: v.outcome.died_30_days).mean() < 0.40
    assert 0.20 < of(cohort, lambda v: v.expanded()).mean() < 0.30
    gcs = of(cohort, lambda v: v.truth.gcs)
    assert np.median(gcs) in (13, 14)
    assert 0.12 < (gcs <= 8).mean() < 0.24
    assert 0.25 < of(cohort, lambda v: v.bleed.swirl).mean() < 0.45


def test_mortality_rises_with_the_ich_score(cohort):
    score = of(cohort, lambda v: ich_score(v.truth, v.bleed))
    died = of(cohort, lambda v: v.outcome.died_30_days)
    by_score = [died[score == k].mean() for k in range(5)]
    assert by_score == sorted(by_score)
    assert by_score[0] < 0.12
    assert by_score[4] > 0.85


def test_growth_is_most_frequent_early_and_rare_after_twelve_hours(cohort):
    hours, grown = of(cohort, lambda v: v.truth.onset_to_ct_h), of(cohort, lambda v: v.expanded())
    early, late = grown[hours <= 3].mean(), grown[hours > 12].mean()
    assert 0.30 < early < 0.42
    assert late < 0.14
    assert late < grown[(hours > 3) & (hours <= 12)].mean() < early


def test_consciousness_falls_with_volume_and_the_old_fare_worse(cohort):
    gcs = of(cohort, lambda v: v.truth.gcs)
    poor = of(cohort, lambda v: v.outcome.poor_90_days)
    assert -0.65 < spearmanr(gcs, of(cohort, lambda v: v.bleed.volume_ml))[0] < -0.45
    assert -0.42 < spearmanr(gcs, poor)[0] < -0.2  # Cobo: -0.34
    assert 0.2 < spearmanr(of(cohort, lambda v: v.truth.age_years), poor)[0] < 0.45  # Cobo: 0.39


def test_best_reachable_auc_lies_where_papers_land(cohort):
    grown, p = of(cohort, lambda v: v.expanded()), of(cohort, lambda v: v.p_expansion())
    assert 0.79 < roc_auc_score(grown, p) < 0.87
    poor = of(cohort, lambda v: v.outcome.poor_90_days)
    assert 0.76 < roc_auc_score(poor, of(cohort, lambda v: v.p.poor_90_days)) < 0.87


def test_no_single_sign_decides_the_growth(cohort):
    p = of(cohort, lambda v: v.p_expansion())
    for sign in ("swirl", "hypodensity", "blend", "black_hole", "island", "fluid_level"):
        has = of(cohort, lambda v, s=sign: getattr(v.bleed, s)) > 0
        assert p[has].mean() < 0.6, sign
        assert p[has].mean() > p[~has].mean(), sign


def test_gaps_depend_on_nothing_that_matters(cohort):
    unknown = of(cohort, lambda v: v.recorded.onset_to_ct_h is None)
    assert 0.2 < unknown.mean() < 0.25
    for label in (lambda v: v.expanded(), lambda v: v.outcome.died_30_days):
        y = of(cohort, label)
        for gap in (unknown, of(cohort, lambda v: not v.outcome_known)):
            assert abs(y[gap > 0].mean() - y[gap == 0].mean()) < 0.06


def test_what_is_recorded_is_the_truth_or_nothing(cohort):
    for v in cohort[:500]:
        for name in v.truth.__slots__:
            assert getattr(v.recorded, name) in (None, getattr(v.truth, name))


def test_key_seed_and_order_tell_nothing_of_the_label(cohort):
    grown = of(cohort, lambda v: v.expanded())
    for fact in (lambda v: v.seed, lambda v: v.anatomy_seed, lambda v: int(v.key.rsplit("-")[-1])):
        assert abs(roc_auc_score(grown, of(cohort, fact)) - 0.5) < 0.03


def test_chances_refuse_facts_with_gaps(cohort):
    with pytest.raises(ValueError, match="gcs"):
        chances(replace(cohort[0].truth, gcs=None), cohort[0].bleed)


def test_definitions_disagree_where_they_should():
    six, third = EXPANSION_DEFINITIONS["6 mL"], EXPANSION_DEFINITIONS["33 %"]
    assert USUAL.met(6, 8.1)
    assert third.met(6, 8.1)
    assert not six.met(6, 8.1)
    assert six.met(60, 67)
    assert not third.met(60, 67)
