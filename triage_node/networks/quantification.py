"""Unified quantification and prognosis: hematoma volume in mL and 90-day outcome from one shared extractor, without masks.

Upstream: the trunk, trained on both tasks together with two provisional linear layers. Downstream: a head each, on the trunk's
features. Source: Gong 2023, doi 10.3389/fnins.2023.1118340, as PAPERS.md 2 has it (ResNet, weight sharing, regression and
classification together, then two heads, Grad-CAM for both). Sizes, losses and input are ours: the paper's were not seen.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from triage_node.networks.residual import CHANNELS, DENSE, GAIN, SPARSE, Trunk, convolution

TASKS = ("volume", "outcome")
ML_PER_UNIT = 20.0
"""The volume layer works in units of so many mL, so that its weights have the size of the other's."""


class Quantified(NamedTuple):
    """volume (n, 1) in mL, of parenchymal blood; outcome (n, 1) logit of a poor one; feature maps (n, 32, 6, 12, 12)."""

    volume: Tensor
    outcome: Tensor
    volume_maps: Tensor
    outcome_maps: Tensor


class PooledHead(nn.Module):
    """Convolution, ReLU, global average pooling, one linear layer; the density of blood goes past the convolution. Gives the logit and the maps that were pooled."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.look = nn.Sequential(convolution(channels, channels - DENSE, (1, 3, 3)), nn.ReLU(inplace=True))
        nn.init.constant_(self.look[0][1].bias, SPARSE)
        self.linear = nn.Linear(channels, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        maps = torch.cat([self.look(features), features[:, -DENSE:]], 1)
        return self.linear(GAIN * maps.mean((2, 3, 4))), maps


class QuantificationNet(nn.Module):
    """picture (n, 1, 24, 96, 96), -1..1 -> Quantified."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.trunk = Trunk(channels=channels)
        self.provisional = nn.Linear(channels, len(TASKS))
        """Upstream only; kept, so that a checkpoint can be trained further."""
        self.volume = PooledHead(channels)
        self.outcome = PooledHead(channels)

    def forward(self, picture: Tensor) -> Quantified:
        return self.downstream(self.trunk(picture))

    def upstream(self, shrunk: Tensor) -> tuple[Tensor, Tensor]:
        """volume in mL and outcome logit (n, 1) of the provisional layers, from shrunk pictures (residual.Trunk)."""
        pooled = self.provisional(GAIN * self.trunk.of_shrunk(shrunk).mean((2, 3, 4)))
        return pooled[:, :1] * ML_PER_UNIT, pooled[:, 1:]

    def downstream(self, features: Tensor) -> Quantified:
        volume, volume_maps = self.volume(features)
        outcome, outcome_maps = self.outcome(features)
        return Quantified(volume * ML_PER_UNIT, outcome, volume_maps, outcome_maps)
