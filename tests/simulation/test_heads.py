"""Smooth noise of the simulator."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from triage_node.simulation.heads import cloud


@pytest.mark.parametrize("scale_px", [1, 2, 3, 8.7, 40])
def test_cloud_is_coarse_noise_zoomed_linearly(scale_px):
    step = int(scale_px)
    found = cloud(np.random.default_rng(3), (5, 64, 50), scale_px)
    coarse = np.random.default_rng(3).standard_normal((5, 64 // step + 4, 50 // step + 4), dtype=np.float32)
    coarse = ndimage.gaussian_filter(coarse, 1.0)
    zoomed = ndimage.zoom(coarse, (1, step, step), order=1)[:, :64, :50]
    assert found.shape == (5, 64, 50)
    assert found.dtype == np.float32
    assert found == pytest.approx(zoomed / zoomed.std(), abs=1e-4)
