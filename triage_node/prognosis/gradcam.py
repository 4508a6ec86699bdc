"""Grad-CAM from exported feature maps, exact and without gradients; numpy only.

For a head of global average pooling and a linear layer, d logit / d map[c, voxel] is weight[c] / voxels everywhere, so the
weight that Grad-CAM gives a map (the mean gradient) is known from the layer. Source: Selvaraju 2017, arXiv 1610.02391,
section 3.1 (Grad-CAM generalises CAM).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triage_node.domain.errors import ManifestInvalid

HEADS_FILE = "configs/heads.json"
"""Task -> weights of its last layer, a list of one row of numbers for each logit."""

Floats = NDArray[np.float32]


def grad_cam(maps: Floats, weights: Floats) -> Floats:
    """Shape: maps (c, d, h, w) as they were pooled, weights (c,) of one logit -> (d, h, w), not negative.

    Raises: ValueError when the shapes do not fit.
    """
    if maps.ndim != 4 or weights.shape != maps.shape[:1]:
        raise ValueError(f"maps {maps.shape} and weights {weights.shape} do not belong together")
    voxels = math.prod(maps.shape[1:])
    combined = np.tensordot(weights.astype(np.float32) / np.float32(voxels), maps.astype(np.float32), 1)
    return np.maximum(combined, 0).astype(np.float32)


def enlarged(cam: Floats, shape: tuple[int, int, int]) -> Floats:
    """Linear between the centres of the coarse voxels, scaled so that the largest value is 1 (all 0 when nothing speaks).

    Shape: (d, h, w) -> `shape`, which covers the same space.
    """
    found = cam.astype(np.float32)
    for axis, size in enumerate(shape):
        found = np.moveaxis(np.tensordot(_between(found.shape[axis], size), found, (1, axis)), 0, axis)
    largest = float(found.max()) if found.size else 0.0
    return found / np.float32(largest) if largest > 0 and math.isfinite(largest) else np.zeros(shape, np.float32)


def _between(coarse: int, fine: int) -> Floats:
    """Weights (fine, coarse) of linear interpolation, constant beyond the outermost centres."""
    at = np.clip((np.arange(fine) + 0.5) * coarse / fine - 0.5, 0, coarse - 1)
    return np.clip(1 - np.abs(at[:, None] - np.arange(coarse)), 0, None).astype(np.float32)


def head_weights(text: bytes, logits: Mapping[str, int], channels: int) -> dict[str, Floats]:
    """What HEADS_FILE holds: task -> (logits, channels). Raises: ManifestInvalid for anything else."""
    try:
        held: Any = json.loads(text)
        found = {task: np.array(held[task], np.float32) for task in logits}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ManifestInvalid(f"{HEADS_FILE}: {type(error).__name__}: {error}") from error
    for task, n in logits.items():
        if found[task].shape != (n, channels) or not np.isfinite(found[task]).all():
            raise ManifestInvalid(f"{HEADS_FILE}: {task} must be {n} rows of {channels} finite numbers")
    return found
