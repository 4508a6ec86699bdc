"""Pieces of a mask and the words for where they lie."""

from __future__ import annotations

import numpy as np
import pytest

from tests.detection.heads import volume_of
from triage_node.detection.components import connected, location_of, measured
from triage_node.domain.finding import Location


def test_pieces_that_touch_at_a_corner_of_neighbouring_slices_are_one():
    blood = np.zeros((3, 8, 8), bool)
    blood[0, 1, 1] = blood[1, 2, 2] = blood[2, 6, 6] = True
    labels = connected(blood)
    assert labels.max() == 2
    assert labels[0, 1, 1] == labels[1, 2, 2] != labels[2, 6, 6]


@pytest.mark.parametrize(
    ("subtype", "depth", "below", "behind", "expected"),
    [
        ("ivh", 40, 50, False, Location.VENTRICULAR),
        ("sdh", 3, 50, False, Location.EXTRA_AXIAL),
        ("edh", 3, None, False, Location.EXTRA_AXIAL),
        ("sah", 30, 80, False, Location.EXTRA_AXIAL),
        ("iph", 35, 60, False, Location.DEEP),
        ("iph", 12, 40, True, Location.LOBAR),
        ("iph", 30, 100, True, Location.INFRATENTORIAL),
        ("iph", 12, 100, False, Location.LOBAR),
        ("iph", 30, 85, True, Location.UNKNOWN),
        ("iph", 25, 50, False, Location.UNKNOWN),
        ("iph", 35, None, False, Location.UNKNOWN),
        ("", 12, 40, True, Location.UNKNOWN),
    ],
)
def test_location_by_geometry_is_unknown_where_geometry_does_not_decide(subtype, depth, below, behind, expected):
    assert location_of(subtype, depth, below, behind) is expected


def test_component_is_measured_with_slice_extents_in_the_patients_axes():
    labels = np.zeros((4, 10, 10), np.uint8)
    labels[1, 2:4, 5:7] = 3
    labels[2, 2:4, 5:9] = 3
    volume = volume_of(np.zeros((4, 10, 10), np.int16), step_mm=7.0, pixel_mm=0.5)
    found = measured(volume, labels, 3, "iph", Location.DEEP, 0.9)
    assert found.volume_ml == pytest.approx((4 + 8) * 0.25 * 7 / 1000)
    assert found.key_slice_index == 2
    assert found.centroid_mm == pytest.approx((-100 + 0.5 * (4 * 5.5 + 8 * 6.5) / 12, -100 + 0.5 * 2.5, 7 * 20 / 12))
