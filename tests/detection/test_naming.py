"""Pieces of the mask get the name that mask and slices give together, or none."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from tests.detection.test_operating_point import E0, KNOWN, POINT, detection
from triage_node.bundle.manifest import Naming
from triage_node.detection.naming import CLIP, features_of, name_of
from triage_node.detection.operating_point import decide
from triage_node.domain.finding import SUBTYPES, Location


def naming(**changes: object) -> Naming:
    """Each type by its own mask channel, "none" by the slice's logit of no blood at all."""
    rows = np.zeros((6, 12))
    rows[1:, :5] = np.eye(5)
    rows[0, 6] = -1.0
    fields = {"coefficients": rows.tolist(), "intercepts": [0.0] * 6, "fitted_on": "a test"} | changes
    return Naming.model_validate(fields)


def test_features_are_those_of_the_piece_and_of_its_slices_by_their_pixels():
    piece = np.zeros((3, 4, 4), bool)
    piece[0, 0, 0] = piece[1, :3, 0] = True
    share = np.full((3, 5, 4, 4), 0.5, np.float32)
    share[:, 1] = 0.0
    share[:, 2] = 1.0
    logits = np.array([[4.0] * 6, [0.0] * 6, [100.0] * 6], np.float32)
    found = features_of(piece, share, logits, 10.0)
    assert found == pytest.approx([0, -CLIP, CLIP, 0, 0, 1.0, *[1.0] * 6])


def test_without_a_naming_the_largest_channel_names_the_piece():
    features = np.array([-1.0, -3, -2, 0.5, -1, 0, 0, 0, 0, 0, 0, 0])
    assert name_of(features, None) == "sdh"


@pytest.mark.parametrize("kind", range(5))
def test_the_likeliest_type_names_the_piece_and_none_is_an_answer_too(kind):
    features = np.full(12, -2.0)
    features[kind] = 3.0
    assert name_of(features, naming()) == SUBTYPES[kind]
    features[6] = -CLIP
    assert name_of(features, naming()) == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"coefficients": [[0.0] * 12] * 5},
        {"coefficients": [[0.0] * 11] * 6},
        {"intercepts": [0.0] * 5},
        {"coefficients": [[float("inf")] * 12] * 6},
        {"intercepts": [float("nan")] * 6},
        {"fitted_on": ""},
    ],
)
def test_a_naming_of_another_shape_or_without_finite_numbers_is_refused(wrong):
    with pytest.raises(ValidationError):
        naming(**wrong)


def test_a_piece_without_a_type_names_nothing_in_the_decision_and_still_counts():
    nameless, named = ("", 12.0, Location.UNKNOWN), ("sah", 3.0, Location.EXTRA_AXIAL)
    both = decide(detection(0.8, KNOWN, nameless, named), POINT, E0)
    assert (both.subtypes, both.finding, both.hematoma_volume_ml) == (("sah",), "sah", 15.0)
    alone = decide(detection(0.8, KNOWN, nameless), POINT, E0)
    assert (alone.subtypes, alone.finding, alone.locations) == ((), "ich", ())
