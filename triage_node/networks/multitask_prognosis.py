"""Outcome, GCS and age from one picture: a 3D trunk and three heads that share its feature maps.

Source: Cobo 2024, arXiv 2408.08784, as PAPERS.md 3 has it. A head is ReLU, global average pooling, one linear layer; GCS has two
ordinal logits in cumulative coding. `PaperNet` is the paper's own network, `MultitaskNet` the same heads on a trunk that one
CPU core can train.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from monai.networks.nets import DenseNet121
from torch import Tensor, nn

from triage_node.networks.residual import CHANNELS, GAIN, Trunk

TASKS = ("prognosis", "gcs", "age")
LOSS_WEIGHTS = {"prognosis": 0.4, "gcs": 0.3, "age": 0.3}
OUTPUTS = {"prognosis": 1, "gcs": 2, "age": 1}
GCS_CLASSES = ("over 12", "9 to 12", "8 or less")
OLD_YEARS = 80
PAPER_SHAPE = (40, 301, 301)
"""Slices, rows, columns of the paper's input."""
PAPER_CHANNELS = 1024


class Multitask(NamedTuple):
    """Logits: prognosis (n, 1) of a poor outcome, gcs (n, 2) cumulative, age (n, 1) of 80 or more; maps (n, c, d, h, w)."""

    prognosis: Tensor
    gcs: Tensor
    age: Tensor
    maps: Tensor


class _ThreeHeads(nn.Module):
    gain = 1.0
    """What pooled features are multiplied by before the linear layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.prognosis = nn.Linear(channels, OUTPUTS["prognosis"])
        self.gcs = nn.Linear(channels, OUTPUTS["gcs"])
        self.age = nn.Linear(channels, OUTPUTS["age"])

    def of_features(self, features: Tensor) -> Multitask:
        maps = torch.relu(features)
        pooled = self.gain * maps.mean((2, 3, 4))
        return Multitask(self.prognosis(pooled), self.gcs(pooled), self.age(pooled), maps)


class MultitaskNet(_ThreeHeads):
    """picture (n, 1, 24, 96, 96), -1..1 -> Multitask."""

    gain = GAIN

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__(channels)
        self.trunk = Trunk(channels=channels)

    def forward(self, picture: Tensor) -> Multitask:
        return self.of_features(self.trunk(picture))

    def of_shrunk(self, shrunk: Tensor) -> Multitask:
        """From pictures averaged over 2 x 2, as training keeps them (residual.Trunk)."""
        return self.of_features(self.trunk.of_shrunk(shrunk))


class PaperNet(_ThreeHeads):
    """The paper's configuration: MONAI's DenseNet121 in 3D, class layers identity. picture (n, 1, 40, 301, 301), 0..1."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__(PAPER_CHANNELS)
        self.trunk = DenseNet121(spatial_dims=3, in_channels=1, out_channels=1, pretrained=False, dropout_prob=dropout)
        self.trunk.class_layers = nn.Identity()

    def forward(self, picture: Tensor) -> Multitask:
        return self.of_features(self.trunk(picture))


# ---- labels -----------------------------------------------------------------------------------------------------------


def gcs_class(gcs: int) -> int:
    """13 to 15: 0, 9 to 12: 1, 3 to 8: 2. Raises: ValueError outside 3 to 15."""
    if not 3 <= gcs <= 15:
        raise ValueError(f"GCS lies from 3 to 15, got {gcs}")
    return 0 if gcs > 12 else 1 if gcs > 8 else 2


def cumulative(gcs_classes: Tensor) -> Tensor:
    """Classes (n,) 0..2 -> codes (n, 2): [0, 0], [1, 0], [1, 1]."""
    return (gcs_classes[:, None] > torch.arange(OUTPUTS["gcs"], device=gcs_classes.device)).float()


def decoded(logits: Tensor) -> Tensor:
    """Cumulative logits (n, 2) -> classes (n,): how many of them are positive, the paper's decoding."""
    return (logits.sigmoid() > 0.5).sum(1)


def paper_picture(hu: Tensor) -> Tensor:
    """HU (slice, row, column) of a skull-stripped head, slice 0 lowest, row 0 in front -> the paper's (1, 40, 301, 301).

    Zeros are added above and below up to 40 slices (more are kept: the resize takes them together), in-plane and slices are
    resized to 301 x 301 x 40, HU 15..100 become 0..1. The paper's Rotate90 (k = 3) and flip of axis 1 act on slices that a
    NIfTI reader gives as (x, y); rows and columns here are (y, x), so what they come to is a plain transpose and flips, done
    on the (x, y) picture to stay close to the source. Whether the authors' NIfTI files are stored left to right cannot be
    seen here: a site compares one picture with theirs before it trusts their weights.
    """
    # (slice, y, x) in LPS -> (x, y, slice) in RAS+, which is how a NIfTI reader gives it: both in-plane axes are mirrored
    array = hu.permute(2, 1, 0).flip(0, 1).float()
    array = ((array - 15) / 85).clamp(0, 1)
    short = PAPER_SHAPE[0] - array.shape[2]
    if short > 0:
        array = nn.functional.pad(array, (short // 2, short - short // 2))
    wanted = (*PAPER_SHAPE[1:], PAPER_SHAPE[0])
    array = nn.functional.interpolate(array[None, None], wanted, mode="trilinear", align_corners=False)[0, 0]
    array = torch.rot90(array, 3, (0, 1)).flip(1)
    return array.permute(2, 0, 1)[None]


# ---- the authors' weights ---------------------------------------------------------------------------------------------

_FIRST = "features.conv0.weight"
_HEAD_WORDS = {"prognosis": r"prog|outcome", "gcs": r"gcs|glasgow", "age": r"(?<!im)(?<!st)(?<!aver)age"}


def from_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' state dict under the names of PaperNet. Their module names were not seen: they are found by layout.

    The trunk is whatever lies before `features.conv0.weight`; a head is a linear layer of 1024 inputs whose name tells the
    task. Raises: ValueError that names what is missing, unknown or of another shape.
    """
    firsts = [k for k in state if k.endswith(_FIRST)]
    if len(firsts) != 1:
        raise ValueError(f"the weights must hold one DenseNet ({_FIRST}), found {len(firsts)}")
    prefix = firsts[0].removesuffix(_FIRST)
    own = PaperNet().state_dict()
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.startswith(f"{prefix}features."):
            found[f"trunk.{key.removeprefix(prefix)}"] = value
        elif key.startswith(f"{prefix}class_layers."):
            continue  # a classifier that identity replaced
        else:
            found[_head_name(key, value)] = value
    if missing := sorted(own.keys() - found.keys()):
        raise ValueError(f"the weights lack {len(missing)} tensors, {missing[0]} among them")
    if unknown := sorted(found.keys() - own.keys()):
        raise ValueError(f"the weights hold {len(unknown)} unknown tensors, {unknown[0]} among them")
    for name, value in found.items():
        if value.shape != own[name].shape:
            raise ValueError(f"{name} is {tuple(value.shape)}, the network needs {tuple(own[name].shape)}")
    return found


def _head_name(key: str, value: Tensor) -> str:
    module, _, kind = key.rpartition(".")
    tasks = [task for task, words in _HEAD_WORDS.items() if re.search(words, module.lower())]
    if kind not in ("weight", "bias") or len(tasks) != 1:
        raise ValueError(f"{key} {tuple(value.shape)} is neither of the trunk nor of the head of one task")
    return f"{tasks[0]}.{kind}"
