from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.worklist.test_urgency import decision
from triage_node.domain.finding import OperatingPoint
from triage_node.worklist.wording import flag_words, likelihood

POINT = OperatingPoint("ich", raise_probability=0.5, notify_probability=0.9, version=1)


@pytest.mark.parametrize(
    ("probability", "words"),
    [
        (0.49, "not raised"),
        (0.5, "possible"),
        (0.89, "possible"),
        (0.9, "likely"),
        (0.949, "likely"),
        (0.95, "very likely"),
        (1.0, "very likely"),
        (math.nan, "not raised"),
    ],
)
def test_likelihood_follows_the_operating_points(probability, words):
    assert likelihood(probability, POINT) == words


@pytest.mark.parametrize(
    ("probability", "words"), [(0.29, "not raised"), (0.3, "not sure"), (0.499, "not sure"), (0.5, "possible")]
)
def test_a_band_below_the_raise_threshold_is_not_sure(probability, words):
    assert likelihood(probability, replace(POINT, unsure_from=0.3)) == words


def test_flag_words_name_finding_volume_and_likelihood_without_a_percentage():
    assert flag_words(replace(decision("iph", ml=34.4, probability=0.96), finding="iph")) == (
        "Suspected IPH, 34 mL, very likely"
    )
    assert flag_words(decision("iph", ml=0.4, probability=0.7)) == "Suspected ICH, under 1 mL, possible"


@pytest.mark.parametrize(
    ("probability", "words"), [(0.934, "93 %"), (0.004, "under 1 %"), (0.999, "over 99 %"), (math.nan, "not raised")]
)
def test_a_percentage_stands_only_where_this_site_has_calibrated(probability, words):
    made = decision("iph", ml=34.4, probability=probability)
    assert flag_words(made, calibrated=True).endswith(f", {words}")
    assert "%" not in flag_words(made)
    of_a_subtype = replace(made, operating_point=replace(made.operating_point, finding="iph"))
    assert "%" not in flag_words(of_a_subtype, calibrated=True)


@pytest.mark.parametrize("ml", [0.0, math.nan, math.inf, -1.0])
def test_a_volume_that_is_none_is_left_out(ml):
    assert flag_words(decision(ml=ml)) == "Suspected ICH, very likely"


def test_a_finding_that_nobody_knows_reads_as_hemorrhage():
    assert flag_words(replace(decision(), finding="<b>x")).startswith("Suspected ICH,")
