from __future__ import annotations

import numpy as np
import pytest

from triage_node.queueing.closed_form import ReadingRoom, Test, by_truth
from triage_node.queueing.simulation import Arrivals, first_come, flagged_first, mean_of_runs, waits

RUNS, STUDIES, WARM_UP = 10, 12_000, 1_000


@pytest.mark.parametrize(("rho", "readers", "seed"), [(0.8, 1, 4), (0.8, 2, 5)])
def test_the_simulation_holds_the_closed_form_in_its_interval(rho, readers, seed):
    test, there = Test(0.9, 0.9, 0.1), ReadingRoom(rho * readers / 10, 10, readers)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(RUNS):
        arrivals = Arrivals(
            np.cumsum(rng.exponential(1 / there.arrivals_per_min, STUDIES)), rng.exponential(10, STUDIES)
        )
        bleeds = rng.random(STUDIES) < test.prevalence
        flagged = np.where(bleeds, rng.random(STUDIES) < test.sensitivity, rng.random(STUDIES) >= test.specificity)
        plain, ordered = (waits(arrivals, readers, choose)[WARM_UP:] for choose in (first_come, flagged_first(flagged)))
        bleeds, flagged = bleeds[WARM_UP:], flagged[WARM_UP:]
        found.append(
            [plain.mean(), *(ordered[who].mean() for who in (flagged, ~flagged, bleeds, ~bleeds, bleeds & ~flagged))]
        )
    expected = by_truth(there, test)
    for runs, theory in zip(
        np.array(found).T,
        (expected.plain, expected.flagged, expected.unflagged, expected.diseased, expected.others, expected.unflagged),
        strict=True,
    ):
        mean, low, high = mean_of_runs(runs)
        assert low <= theory <= high
        assert mean == pytest.approx(theory, rel=0.15)


def test_whoever_is_free_takes_what_stands_first_and_nobody_is_interrupted():
    # minutes: 0 is read at once; 1 and 2 wait for it; 2 is flagged and stands first; 3 comes when all is quiet
    arrivals = Arrivals(np.array([0.0, 1, 2, 60]), np.array([10.0, 10, 10, 10]))
    flagged = np.array([False, False, True, False])
    assert waits(arrivals, 1, first_come).tolist() == [0, 9, 18, 0]
    assert waits(arrivals, 1, flagged_first(flagged)).tolist() == [0, 19, 8, 0]
    assert waits(arrivals, 2, first_come).tolist() == [0, 0, 8, 0]
    asked = []
    waits(arrivals, 1, lambda waiting, minute: asked.append((list(waiting), minute)) or waiting[0])
    assert asked == [([0], 0), ([1, 2], 10), ([2], 20), ([3], 60)]


@pytest.mark.parametrize(
    ("at", "reading", "readers"),
    [
        ([2.0, 1.0], [1.0, 1.0], 1),
        ([1.0, 2.0], [1.0], 1),
        ([1.0], [-1.0], 1),
        ([float("nan")], [1.0], 1),
        ([1.0], [1.0], 0),
    ],
)
def test_what_cannot_be_played_is_refused(at, reading, readers):
    with pytest.raises(ValueError, match="."):
        waits(Arrivals(np.array(at), np.array(reading)), readers, first_come)


def test_nothing_that_arrives_waits_for_nothing_and_one_run_has_no_interval():
    assert waits(Arrivals(np.empty(0), np.empty(0)), 2, first_come).shape == (0,)
    with pytest.raises(ValueError, match="no interval"):
        mean_of_runs(np.array([1.0]))
