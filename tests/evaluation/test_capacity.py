"""The simulation of hubs against what can be computed, and what a lost centre does."""

import json

import numpy as np
import pytest

from triage_node.evaluation import capacity, capacity_report
from triage_node.evaluation.capacity import COMPLETE_S, STAGES, Costs, Load, Lost
from triage_node.queueing.closed_form import erlang_c

PLENTY = dict.fromkeys(STAGES, 100)
ANALYSIS_S = 4.0
COSTS = Costs(dict.fromkeys(STAGES, 1e-9) | {"analysis": ANALYSIS_S}, dict.fromkeys(STAGES, 1e-9), report=0.0)


@pytest.mark.parametrize(("cores", "utilisation"), [(1, 0.5), (3, 0.6)])
def test_waits_are_those_of_the_closed_form_where_it_holds(cores, utilisation):
    random = np.random.default_rng(7)
    count, rate = 25_000, utilisation * cores / ANALYSIS_S
    times = np.cumsum(random.exponential(1 / rate, count))
    day = capacity.simulate(
        times, np.zeros(count, bool), COSTS, [PLENTY | {"analysis": cores}], lambda mean: random.exponential(mean)
    )
    load = rate * ANALYSIS_S
    waits = day.wait - COMPLETE_S - ANALYSIS_S
    expected = erlang_c(cores, load) * ANALYSIS_S / (cores - load)
    assert waits.mean() == pytest.approx(expected, rel=0.15)
    assert day.busy["analysis"] / (cores * times[-1]) == pytest.approx(utilisation, rel=0.03)


def lost_centre(moves_after_s):
    """Three centres of 4 cores, each at a third of what it can do; the second is away from 1:00 to 2:00. All is even."""
    times = np.arange(0.0, 4 * 3600.0, ANALYSIS_S / 4.0)
    lost = Lost(1, 1.0, 2.0, moves_after_s)
    cores = [PLENTY | {"analysis": 4}] * 3
    return times, capacity.simulate(times, np.zeros(len(times), bool), COSTS, cores, lambda mean: mean, lost)


def test_what_waits_at_the_edges_for_a_lost_centre_comes_through_and_the_others_feel_nothing():
    times, day = lost_centre(None)
    home = np.arange(len(times)) % 3
    assert not np.isnan(day.delivered).any()
    assert day.wait[home != 1].max() == pytest.approx(COMPLETE_S + ANALYSIS_S)
    away = (home == 1) & (times >= 3600) & (times < 7200)
    assert day.wait[away].max() == pytest.approx(3600 + COMPLETE_S + ANALYSIS_S, abs=10)
    # 1,200 studies wait; new ones take a third of 1 a second, so the queue is gone after 1,200 / (1 - 1/3) = 1,800 s
    late = (home == 1) & (day.wait > COMPLETE_S + ANALYSIS_S + 1)
    assert times[late].max() == pytest.approx(7200 + 1800, rel=0.01)


def test_edges_that_go_to_the_other_centres_wait_no_longer_than_it_takes_to_notice():
    times, day = lost_centre(60.0)
    during = times[day.wait > COMPLETE_S + ANALYSIS_S + 60]
    assert len(during) < 60
    assert (np.abs(during - 3600) < 120).all()


def test_a_day_has_its_studies_its_peak_and_its_burst():
    load = Load(studies_a_day=20_000, burst=500, burst_at_h=3.0)
    times = capacity.arrivals(load, np.random.default_rng(3))
    per_hour = np.histogram(times, bins=24, range=(0, capacity.DAY_S))[0]
    assert len(times) == pytest.approx(20_500, rel=0.03)
    assert per_hour[10] / 3600 == pytest.approx(load.peak_per_s, rel=0.1)
    assert ((times >= 3 * 3600) & (times < 3 * 3600 + 600)).sum() >= 500


def test_cores_carry_the_busiest_hour_with_a_centre_lost():
    load, costs = Load(), Costs(dict.fromkeys(STAGES, 2.0), dict.fromkeys(STAGES, 2.0))
    for centres in (1, 3):
        cores = capacity.sized(load, costs, centres, utilisation=0.7)
        left = max(1, centres - 1) * cores["analysis"]
        assert 0.6 < load.peak_per_s * 2.0 / left <= 0.7


def test_the_page_says_what_was_measured_and_simulated():
    measured, simulated = (json.loads(f.read_text("utf-8")) for f in (capacity_report.COSTS, capacity_report.DAYS))
    assert capacity_report.PAGE.read_text("utf-8") == capacity_report.page(measured, simulated)
    assert all(day["flagged"] == simulated["studies"] for day in simulated["days"].values())
