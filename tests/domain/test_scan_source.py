"""Scanner, kernel and software of a study, and whether an evaluation says anything of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from triage_node.domain.instance import InstanceHeader
from triage_node.domain.scan_source import ScanSource, not_covered, source_of

IMAGE = InstanceHeader(
    "1.2",
    "1.2",
    "1.2",
    "1.2",
    manufacturer="Maker",
    manufacturer_model_name="M1",
    convolution_kernel=("H31s", "3"),
    software_versions=("syngo", "VA48A"),
)
HERE = ScanSource("Maker M1", "H31s 3", "syngo VA48A")


def test_a_series_is_named_by_its_images_and_not_by_a_localizer_among_them():
    localizer = replace(IMAGE, convolution_kernel=("",))
    assert source_of([None, localizer, IMAGE]) == HERE
    assert source_of([localizer]) == replace(HERE, kernel="")
    assert source_of([]) == source_of([None]) == ScanSource("")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (HERE, ""),
        (replace(HERE, scanner="Maker M2"), "does not cover Maker M2"),
        (ScanSource("", "H31s 3", "syngo VA48A"), "does not cover a scanner without a name"),
        (replace(HERE, kernel="H60s"), "does not cover kernel H60s of Maker M1"),
        (replace(HERE, kernel=""), "cannot cover a scan of Maker M1 that does not say its kernel"),
        (replace(HERE, software="VB10"), "does not cover software version VB10 of Maker M1"),
        (replace(HERE, software=""), "cannot cover a scan of Maker M1 that does not say its software version"),
    ],
)
def test_each_of_the_three_is_asked_for_with_its_reason(source, reason):
    assert not_covered(source, frozenset((HERE, ScanSource("Other O1", "H60s", "VB10")))) == reason


def test_what_does_not_say_is_not_covered_by_an_evaluation_that_did_not_say_either():
    silent = ScanSource("Maker M1")
    assert "does not say its kernel" in not_covered(silent, frozenset((silent,)))


def test_kernel_and_software_are_covered_each_by_itself():
    covered = frozenset((HERE, replace(HERE, kernel="H60s", software="VB10")))
    assert not_covered(replace(HERE, kernel="H60s"), covered) == ""


def test_hostile_names_stay_short_in_the_reason():
    long = ScanSource("M" * 324, "K" * 324, "S" * 324)
    assert len(not_covered(long, frozenset((HERE,)))) < 120
    assert len(not_covered(long, frozenset((replace(long, kernel="x"),)))) < 200
