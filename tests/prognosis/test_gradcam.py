"""Grad-CAM in numpy: shapes, enlargement, and files that are not what they should be."""

from __future__ import annotations

import json

import numpy as np
import pytest

from triage_node.domain.errors import ManifestInvalid
from triage_node.prognosis.gradcam import enlarged, grad_cam, head_weights


def test_map_is_the_weighted_sum_over_the_number_of_voxels_without_what_is_negative():
    maps = np.zeros((2, 1, 2, 2), np.float32)
    maps[0, 0, 0, 0], maps[1, 0, 1, 1] = 8, 8
    found = grad_cam(maps, np.array([2.0, -1.0], np.float32))
    assert found[0].tolist() == [[4.0, 0.0], [0.0, 0.0]]


def test_weights_of_another_network_are_refused():
    with pytest.raises(ValueError, match="belong together"):
        grad_cam(np.zeros((3, 1, 2, 2), np.float32), np.zeros(2, np.float32))


def test_enlarged_map_has_its_largest_value_where_the_coarse_one_has_it():
    cam = np.zeros((6, 12, 12), np.float32)
    cam[2, 3, 9] = 5
    found = enlarged(cam, (24, 96, 96))
    assert found.max() == 1
    at = np.unravel_index(found.argmax(), found.shape)
    assert [a // s for a, s in zip(at, (4, 8, 8), strict=True)] == [2, 3, 9]


def test_a_map_without_anything_or_with_infinity_stays_empty():
    assert enlarged(np.zeros((6, 12, 12), np.float32), (24, 96, 96)).max() == 0
    assert enlarged(np.full((1, 1, 1), np.inf, np.float32), (2, 2, 2)).max() == 0


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{}", b'{"volume": "x"}', b'{"volume": [[1, 2]]}', b'{"volume": [[1, 2, NaN]]}', b"[" * 100000],
)
def test_heads_of_another_kind_are_refused(text: bytes):
    with pytest.raises(ManifestInvalid):
        head_weights(text, {"volume": 1}, 3)


def test_heads_are_read():
    text = json.dumps({"gcs": [[1, 2], [3, 4]]}).encode()
    assert head_weights(text, {"gcs": 2}, 2)["gcs"].tolist() == [[1, 2], [3, 4]]
