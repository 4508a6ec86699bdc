"""BloodNet: a 2.5D encoder-decoder whose predicted mask decides the classification, with gradient.

A slice with its two neighbours goes in, six masks and six slice logits come out (any blood, then the five subtypes). Both
heads read the predicted mask: `by_extent` nothing but its statistics, `by_picture` the mask beside the decoder's features.
A slice is called positive because of pixels that can be shown.
"""

from __future__ import annotations

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn
from torch.nn import functional

OUTPUTS = ("any", "iph", "ivh", "sah", "sdh", "edh")
"""Order of mask channels and slice logits."""
WIDTHS = (12, 24, 48, 72, 112)
"""Feature channels from full resolution down to a sixteenth."""
LARGEST_PIXELS = (12, 64, 256)
"""The statistics of a mask: mean of its so many largest logits, and the logarithm of its soft area."""


class DoubleConvolution(nn.Sequential):
    """Two 3x3 convolutions, each with batch normalisation and ReLU. Shape: (n, before, h, w) -> (n, after, h, w)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(*(Convolution(2, i, after, norm="batch", act="relu", bias=False) for i in (before, after)))


class BloodNet(nn.Module):
    """0.7 million parameters. `channels` is the number of input channels (detection/preprocess.py names them)."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        n = len(OUTPUTS)
        pairs = zip((channels, *WIDTHS[:-1]), WIDTHS, strict=True)
        self.down = nn.ModuleList(DoubleConvolution(before, after) for before, after in pairs)
        pairs = zip(WIDTHS[:-1], WIDTHS[1:], strict=True)
        self.up = nn.ModuleList(DoubleConvolution(fine + coarse, fine) for fine, coarse in pairs)
        self.mask = nn.Conv2d(WIDTHS[0], n, 1)
        statistics = n * (len(LARGEST_PIXELS) + 1)
        self.scale = nn.LayerNorm(statistics)
        self.by_extent = nn.Sequential(nn.Linear(statistics, statistics), nn.ReLU(), nn.Linear(statistics, n))
        self.beside_mask = nn.Sequential(
            DoubleConvolution(WIDTHS[2] + n, 48), nn.MaxPool2d(2), DoubleConvolution(48, 64)
        )
        self.by_picture = nn.Sequential(nn.Dropout(0.2), nn.Linear(2 * 64 + statistics, n))
        nn.init.constant_(self.mask.bias, -3.0)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Shape: (n, channels, h, w), h and w divisible by 16 -> mask logits (n, 6, h, w), slice logits (n, 6)."""
        extent, by_picture, mask = self.heads(picture)
        return mask, (extent + by_picture) / 2

    def heads(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The two heads apart, as training needs them. Shape: (n, 6), (n, 6), mask logits (n, 6, h, w)."""
        _, quarter, mask = self.trunk(picture)
        return *self.judged(quarter, mask), mask

    def trunk(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shape: coarsest features (n, 112, h / 16, w / 16), decoder features (n, 48, h / 4, w / 4), mask logits."""
        features = []
        x = picture
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)  # (n, WIDTHS[level], h / 2^level, w / 2^level)
            features.append(x)
        for level in reversed(range(len(self.up))):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.up[level](torch.cat([x, features[level]], dim=1))
            if level == 2:
                quarter = x  # (n, 48, h / 4, w / 4)
        return features[-1], quarter, self.mask(x).float()

    def judged(self, quarter: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Both heads from a mask and what the decoder saw. Shape: (n, 48, h / 4, w / 4), (n, 6, h, w) -> (n, 6), (n, 6)."""
        statistics = self.scale(mask_statistics(mask))
        beside = torch.cat([quarter, functional.avg_pool2d(mask.sigmoid(), 4)], dim=1)
        seen = self.beside_mask(beside)  # (n, 64, h / 8, w / 8)
        pooled = torch.cat([seen.mean(dim=(2, 3)), seen.amax(dim=(2, 3)), statistics], dim=1)
        return self.by_extent(statistics), self.by_picture(pooled)


def mask_statistics(mask_logits: Tensor) -> Tensor:
    """How much and how surely. Shape: (n, 6, h, w) -> (n, 24), differentiable in every mask pixel by way of the area."""
    flat = mask_logits.flatten(2)
    largest = flat.topk(LARGEST_PIXELS[-1], dim=2).values
    means = [largest[:, :, :k].mean(dim=2) for k in LARGEST_PIXELS]
    return torch.cat([*means, torch.log(flat.sigmoid().sum(dim=2) + 1)], dim=1)
