"""Control charts of scanners: the stated false-alarm rate, measured; what a change does; how noise is measured."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from triage_node.domain.instance import InstanceHeader
from triage_node.domain.volume import Volume
from triage_node.processes.operations import drift
from triage_node.processes.operations.control_chart import (
    AVERAGE_RUN_LENGTH,
    SMOOTHING,
    WARM_UP,
    limit,
    normal_scores,
    run_length,
    spread,
)
from triage_node.store.operations_drift import Sample

AT = datetime(2026, 11, 21, tzinfo=UTC)
SEED = 20261121
DRAWN = {
    "yes or no": lambda chance: float(chance.random() < 0.1),
    "round numbers": lambda chance: chance.choice([5.0, 5.0, 5.0, 1.25, 0.625]),
    "skewed": lambda chance: chance.lognormvariate(0.0, 1.5),
}


@pytest.mark.parametrize(("width", "published"), [(2.814, 500), (2.454, 200)], ids=["500", "200"])
def test_run_length_is_that_of_the_tables(width, published):
    """Lucas and Saccucci 1990, table 1, for a smoothing of 0.1."""
    assert run_length(width * (SMOOTHING / (2 - SMOOTHING)) ** 0.5) == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize("kind", DRAWN)
def test_false_alarms_come_as_seldom_as_stated_whatever_the_distribution(kind):
    """60,000 studies of scanners that never change, in histories of 1,000, as the page compares them."""
    chance = random.Random(SEED)
    alarms = studies = 0
    for history in range(60):
        values = [DRAWN[kind](chance) for _ in range(drift.MOST)]
        scores = normal_scores(values, (f"{history}.{k}" for k in range(drift.MOST)))
        at = 0.0
        for score in scores[WARM_UP:]:
            at += SMOOTHING * (score - at)
            studies += 1
            if abs(at) > limit():
                alarms, at = alarms + 1, 0.0
    expected = studies / AVERAGE_RUN_LENGTH
    # three deviations of a Poisson number on either side
    assert abs(alarms - expected) <= 3 * expected**0.5, (alarms, expected)


def test_spread_scores_are_normal_too():
    chance = random.Random(SEED)
    scores = spread(normal_scores((chance.random() for _ in range(4000)), map(str, range(4000))))
    assert np.mean(scores) == pytest.approx(0, abs=0.05)
    assert np.std(scores) == pytest.approx(1, abs=0.05)


def samples(change_at: int, count: int = 400, **changed: float) -> list[Sample]:
    """A scanner's studies; from the `change_at`-th on values of `changed` are added."""
    chance = random.Random(SEED)
    made = []
    for k in range(count):
        more = changed if k >= change_at else {}
        flagged = chance.random() < 0.1 + more.get("rate", 0.0)
        score = chance.betavariate(2 + 6 * flagged, 8 - 6 * flagged) + more.get("score", 0.0)
        thickness = 5.0 + more.get("thickness", 0.0)
        noise = chance.gauss(4.0, 0.6) + more.get("noise", 0.0)
        made.append(Sample(f"1.2.{k}", 1, AT + timedelta(hours=k), "Maker", score, flagged, thickness, noise))
    return made


@pytest.mark.parametrize(
    ("change", "rings"),
    [
        ({}, set()),
        ({"rate": 0.4}, {"positive rate"}),
        ({"score": 0.25}, {"score"}),
        ({"thickness": -3.75}, {"slice thickness"}),
        ({"noise": 1.5}, {"noise"}),
    ],
    ids=lambda value: next(iter(value), "nothing") if isinstance(value, dict) else "",
)
def test_change_rings_the_chart_of_what_changed_within_sixty_studies(change, rings):
    found = drift.of_scanner("Maker", samples(340, **change))
    alarms = {c.name for c in found.charts if c.is_alarm}
    # more bleeds are higher scores as well
    assert rings <= alarms <= rings | ({"score", "spread of the score"} if change.keys() & {"rate", "score"} else set())


def test_scanner_with_few_studies_is_not_judged_and_says_so():
    found = drift.of_scanner("Maker", samples(999, count=drift.LEAST - 1))
    assert (found.charts, found.why_not) == ((), "99 of 100 studies that it takes to compare")


def test_chart_of_what_could_not_be_measured_is_left_out():
    found = drift.of_scanner("Maker", [replace(s, noise_hu=None) for s in samples(999)])
    assert "noise" not in {c.name for c in found.charts}


def volume(noise_hu: float, brain_hu: float = 35.0) -> Volume:
    hu = np.full((9, 128, 128), -1000.0)
    hu[:, 20:108, 20:108] = brain_hu
    hu[:, 60:66, 60:66] = 70.0  # a bleed
    hu += np.random.default_rng(SEED).normal(0, noise_hu, hu.shape)
    origins = np.stack([np.array([0.0, 0.0, 5.0 * k]) for k in range(9)])
    x, y = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    five = np.full(9, 5.0)
    uids = tuple(f"1.{k}" for k in range(9))
    return Volume(np.round(hu).astype(np.int16), origins, x, y, (0.5, 0.5), five, five, "1", "1", "1", uids)


@pytest.mark.parametrize("noise", [2.0, 5.0, 9.0])
def test_noise_is_measured_beside_edges_and_a_bleed(noise):
    assert drift.noise_hu(volume(noise)) == pytest.approx(noise, rel=0.12)


def test_noise_of_what_shows_no_brain_is_not_stated():
    assert drift.noise_hu(volume(3.0, brain_hu=-900.0)) is None


def test_two_scanners_of_one_model_are_told_apart_by_their_station():
    def header(station: str) -> InstanceHeader:
        return InstanceHeader(
            "1.1", "1", "1", "1", manufacturer="Maker", manufacturer_model_name="X", station_name=station
        )

    assert drift.scanner_of([None, header("CT1")]) == "Maker X · CT1"
    assert drift.scanner_of([header("CT2")]) != drift.scanner_of([header("CT1")])
    assert drift.scanner_of([]) == "a scanner without a name"
