"""A small 3D residual trunk and heads of global pooling and one linear layer, shared by the two prognosis networks.

A head that ends in global average pooling and a linear layer makes Grad-CAM exact without gradients: the gradient of a logit
with respect to a feature map is the layer's weight divided by the number of voxels, the same everywhere (prognosis/gradcam.py).
So the networks give their last feature maps out beside the logits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from triage_node.networks.expansion import MASKS, Segmenter

PICTURE = (24, 96, 96)
"""Slices, rows, columns of a picture; 6 mm and 2.2 mm (prognosis/expansion.py lays a scan out so)."""
MAP = (6, 12, 12)
"""Shape of a feature map: 24 x 17.6 x 17.6 mm a voxel."""
CHANNELS = 32
GAIN = 10.0
"""Pooled features are multiplied by this before a linear layer: blood fills a hundredth of a picture, and so of a mean."""
SPARSE = -1.5
"""Where the last normalisation begins: only what is unusual passes the ReLU, as blood does, and the mean is not of brain."""

DENSE = 2
"""The last channels of the features are not learned: density of blood, with and without what touches bone."""
DENSE_SCALE = 30.0
SHARES = len(MASKS)
"""A trunk that reads masks has so many more: shares of parenchymal and ventricular blood. Their mean is a volume."""
PARENCHYMA = -2
"""The channel of its features whose mean is the volume of parenchymal blood."""
LEAST_SHARE = 0.5 / 255
"""Less is none, as in the pictures of training, which have 256 steps: a head has many voxels, and nearly nothing adds up."""
WIDTH = 8
"""Of the segmenter: models/expansion."""


def dense(shrunk: Tensor) -> Tensor:
    """How much of each voxel has the attenuation of blood, and the same away from bone, where partial volume looks alike.

    Shape: (n, 1, d, h, w), HU -10..100 as -1..1 -> (n, 2, d, h, w), 0..1. Blood: 42 to 58 HU rising, 77 to 92 falling; bone
    from 80 HU, one pixel around it as well.
    """
    hu = (shrunk + 1) * 55 - 10
    blood = ((hu - 42) / 16).clamp(0, 1) * ((92 - hu) / 15).clamp(0, 1)
    bone = functional.max_pool3d(((hu - 80) / 12).clamp(0, 1), (1, 3, 3), stride=1, padding=(0, 1, 1))
    return torch.cat([blood, blood * (1 - bone)], 1)


def convolution(inputs: int, outputs: int, kernel: int | tuple[int, int, int], stride: int | tuple[int, int, int] = 1):
    """Convolution that keeps the size (but for the stride), and batch normalisation."""
    kernels = (kernel,) * 3 if isinstance(kernel, int) else kernel
    padding = tuple((k - 1) // 2 for k in kernels)
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernels, stride=stride, padding=padding, bias=False), nn.BatchNorm3d(outputs)
    )


class Residual(nn.Module):
    """y = ReLU(x + f(x)), f two convolutions. Source: He 2016, the ResNet that Gong 2023 names."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Sequential(convolution(channels, channels, 3), nn.ReLU(inplace=True))
        self.second = convolution(channels, channels, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x + self.second(self.first(x)))


class Trunk(nn.Module):
    """picture (n, 1, 24, 96, 96), -1..1 -> features (n, 32, 6, 12, 12), not negative.

    `shrunk` pictures (n, 1, 24, 48, 48), averaged over 2 x 2, may be given instead: training keeps them so.
    """

    given = DENSE
    """So many of the channels are not learned."""

    def __init__(self, width: int = 12, channels: int = CHANNELS) -> None:
        super().__init__()
        self.shrink = nn.AvgPool3d((1, 2, 2))
        self.fine = nn.Sequential(convolution(1 + self.given, width, (2, 4, 4), (2, 2, 2)), nn.ReLU(inplace=True))
        self.coarse = nn.Sequential(convolution(width, channels, (2, 4, 4), (2, 2, 2)), nn.ReLU(inplace=True))
        self.residual = Residual(channels)
        self.last = convolution(channels, channels - self.given, 1)
        nn.init.constant_(self.last[1].bias, SPARSE)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, picture: Tensor) -> Tensor:
        return self.of_shrunk(self.shrink(picture))

    def of_shrunk(self, shrunk: Tensor) -> Tensor:
        return self._features(shrunk, dense(shrunk))

    def _features(self, shrunk: Tensor, given: Tensor) -> Tensor:
        learned = self.relu(self.last(self.residual(self.coarse(self.fine(torch.cat([shrunk, given], 1))))))
        return torch.cat([learned, DENSE_SCALE * functional.avg_pool3d(given, 4)], 1)


class ReadingTrunk(Trunk):
    """A trunk that reads the soft masks of the expansion network's segmenter beside the picture.

    The segmenter is trained elsewhere (models/expansion) and stands still. What it and the shrinking make of a picture,
    `read`, may be given instead of it: training keeps it so.
    """

    given = DENSE + SHARES

    def __init__(self, width: int = 12, channels: int = CHANNELS) -> None:
        super().__init__(width, channels)
        self.segmenter = Segmenter(WIDTH).requires_grad_(False)

    def train(self, mode: bool = True) -> ReadingTrunk:
        super().train(mode)
        self.segmenter.eval()
        return self

    def forward(self, picture: Tensor) -> Tensor:
        return self.of_read(self.read(picture))

    def read(self, picture: Tensor) -> Tensor:
        """The picture averaged over 2 x 2, and the shares of parenchymal and ventricular blood. Shape: (n, 3, 24, 48, 48)."""
        share = self.segmenter(picture).sigmoid()
        return torch.cat([self.shrink(picture), share * (share >= LEAST_SHARE).to(share.dtype)], 1)

    def of_read(self, read: Tensor) -> Tensor:
        return self._features(read[:, :1], torch.cat([dense(read[:, :1]), read[:, 1:]], 1))
