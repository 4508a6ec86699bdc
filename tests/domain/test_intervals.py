import numpy as np
import pytest

from triage_node.domain.intervals import proportion_interval, wilson


def test_rows_of_one_patient_are_one_patient_whether_they_agree_or_not():
    one = np.zeros(200, np.intp)
    all_found, one_missed = np.ones(200, bool), np.arange(200) > 0
    assert proportion_interval(all_found, one) == wilson(1.0, 1.0)
    low, high = proportion_interval(one_missed, one)
    assert low < 0.25
    assert high > 0.99


@pytest.mark.parametrize("found", [0, 5, 10])
def test_one_row_a_patient_is_wilsons_own(found):
    hits = np.arange(10) < found
    assert proportion_interval(hits, np.arange(10)) == wilson(found / 10, 10.0)


def test_of_nothing_there_is_no_interval():
    assert proportion_interval(np.zeros(0, bool), np.zeros(0, np.intp)) is None
