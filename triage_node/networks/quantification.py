"""Unified quantification and prognosis: hematoma volume in mL and 90-day outcome from one shared extractor.

Upstream: the trunk, trained on both tasks together with two provisional linear layers. Downstream: a head each, on the trunk's
features. Source: Gong 2023, doi 10.3389/fnins.2023.1118340, as PAPERS.md 2 has it (ResNet, weight sharing, regression and
classification together, then two heads, Grad-CAM for both). Sizes, losses and input are ours: the paper's were not seen, and
the paper draws no mask, where our extractor reads the soft one of models/expansion: its mean is nearly the volume already.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from triage_node.networks.residual import (
    CHANNELS,
    DENSE_SCALE,
    GAIN,
    PARENCHYMA,
    PICTURE,
    SPARSE,
    ReadingTrunk,
    convolution,
)

TASKS = ("volume", "outcome")
ML_PER_UNIT = 20.0
"""The volume layer works in units of so many mL, so that its weights have the size of the other's."""


VOXEL_ML = 6.0 * 4.4 * 4.4 / 1000
"""Of a share of blood (residual.ReadingTrunk.read)."""
SUMMED = PICTURE[0] * (PICTURE[1] // 2) * (PICTURE[2] // 2) * VOXEL_ML / (ML_PER_UNIT * GAIN * DENSE_SCALE)
"""The weight that makes the volume the sum of the shares: where training begins."""


class Quantified(NamedTuple):
    """volume (n, 1) in mL, of parenchymal blood; outcome (n, 1) logit of a poor one; feature maps (n, 32, 6, 12, 12)."""

    volume: Tensor
    outcome: Tensor
    volume_maps: Tensor
    outcome_maps: Tensor


class PooledHead(nn.Module):
    """Convolution, ReLU, global average pooling, one linear layer; what was not learned goes past the convolution. Gives the logit and the maps that were pooled."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.look = nn.Sequential(
            convolution(channels, channels - ReadingTrunk.given, (1, 3, 3)), nn.ReLU(inplace=True)
        )
        nn.init.constant_(self.look[0][1].bias, SPARSE)
        self.linear = nn.Linear(channels, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        maps = torch.cat([self.look(features), features[:, -ReadingTrunk.given :]], 1)
        return self.linear(GAIN * maps.mean((2, 3, 4))), maps


class QuantificationNet(nn.Module):
    """picture (n, 1, 24, 96, 96), -1..1 -> Quantified."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.trunk = ReadingTrunk(channels=channels)
        self.provisional = nn.Linear(channels, len(TASKS))
        """Upstream only; kept, so that a checkpoint can be trained further."""
        self.volume = PooledHead(channels)
        self.outcome = PooledHead(channels)
        with torch.no_grad():
            for layer in (self.provisional, self.volume.linear):
                layer.weight[0], layer.bias[0] = 0.0, 0.0
                layer.weight[0, PARENCHYMA] = SUMMED

    def forward(self, picture: Tensor) -> Quantified:
        return self.downstream(self.trunk(picture))

    def of_read(self, read: Tensor) -> Quantified:
        """From what ReadingTrunk.read gives, as training keeps it."""
        return self.downstream(self.trunk.of_read(read))

    def upstream(self, read: Tensor) -> tuple[Tensor, Tensor]:
        """volume in mL and outcome logit (n, 1) of the provisional layers, from what ReadingTrunk.read gives."""
        pooled = self.provisional(GAIN * self.trunk.of_read(read).mean((2, 3, 4)))
        return pooled[:, :1] * ML_PER_UNIT, pooled[:, 1:]

    def downstream(self, features: Tensor) -> Quantified:
        volume, volume_maps = self.volume(features)
        outcome, outcome_maps = self.outcome(features)
        return Quantified(volume * ML_PER_UNIT, outcome, volume_maps, outcome_maps)
