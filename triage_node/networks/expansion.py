"""Hematoma expansion from the picture: a mask, and from the mask and the picture around it a score (Image-to-HE).

The mask's centre says where to look closely, and the mask weighs what is seen there, so the score rests on the segmentation
(multi-task: Neuroradiology 2024, doi 10.1007/s00234-024-03298-y; PAPERS.md 4.1). The cut-out is taken with hat-shaped weights,
so the whole network is one graph without loops and has gradients everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

MASKS = ("parenchyma", "ventricles")
SIGNS = ("swirl", "hypodensity", "blend", "black_hole", "island", "fluid_level")
PICTURE = (24, 96, 96)
CUT_OUT = (14, 32, 32)
"""Slices, rows and columns looked at closely: 84 x 70 x 70 mm."""


def block(inputs: int, outputs: int, kernel: tuple[int, int, int] = (3, 3, 3)) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, padding=tuple(k // 2 for k in kernel), bias=False),
        nn.BatchNorm3d(outputs),
        nn.ReLU(inplace=True),
    )


class Segmenter(nn.Module):
    """Mask logits at half the resolution in the plane, (n, 2, 24, 48, 48): enough for a volume, and four times quicker."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv3d(1, width, (1, 4, 4), stride=(1, 2, 2), padding=(0, 1, 1)), nn.ReLU(True))
        self.coarse = nn.Sequential(
            nn.Conv3d(width, 2 * width, 2, stride=2), block(2 * width, 2 * width), block(2 * width, 2 * width)
        )
        self.deep = nn.Sequential(
            nn.Conv3d(2 * width, 3 * width, (1, 2, 2), stride=(1, 2, 2)), block(3 * width, 3 * width)
        )
        self.up_deep = nn.ConvTranspose3d(3 * width, 2 * width, (1, 2, 2), stride=(1, 2, 2))
        self.up_coarse = nn.ConvTranspose3d(2 * width, width, 2, stride=2)
        self.joined = block(2 * width, width, (1, 3, 3))
        self.last = nn.Conv3d(width, len(MASKS), 1)
        nn.init.constant_(self.last.bias, -4.0)  # blood is rare

    def forward(self, picture: Tensor) -> Tensor:
        fine = self.down(picture)
        coarse = self.coarse(fine)
        coarse = coarse + self.up_deep(self.deep(coarse))
        return self.last(self.joined(torch.cat([fine, self.up_coarse(coarse)], 1)))


def enlarged(mask: Tensor) -> Tensor:
    """Mask logits at the picture's own resolution."""
    return functional.interpolate(mask, scale_factor=(1.0, 2.0, 2.0), mode="nearest")


class Closer(nn.Module):
    """From the cut-out (picture, both masks) and four numbers to the score and the signs."""

    def __init__(self, width: int, numbers: int = 6) -> None:
        super().__init__()
        self.look = nn.Sequential(
            block(3, width, (1, 3, 3)), block(width, width, (1, 3, 3)), nn.MaxPool3d((1, 2, 2)),
            block(width, 2 * width), block(2 * width, 2 * width, (1, 3, 3)),
        )  # fmt: skip
        pooled = 2 * 2 * width + 5 + numbers
        self.hidden = nn.Sequential(nn.Dropout(0.2), nn.Linear(pooled, 32), nn.ReLU(True))
        self.score = nn.Linear(32, 1)
        self.signs = nn.Linear(32, len(SIGNS))

    def forward(self, cut: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.look(cut)
        weight = functional.max_pool3d(cut[:, 1:2], (1, 2, 2))
        total = weight.sum((2, 3, 4)) + 1e-3
        mean = (seen * weight).sum((2, 3, 4)) / total
        peak = (seen * weight).amax((2, 3, 4))
        blood, at = cut[:, 1], cut[:, 0]
        amount = blood.sum((1, 2, 3)) + 1e-3
        middle = (at * blood).sum((1, 2, 3)) / amount
        apart = (at - middle[:, None, None, None]) * blood
        spread = torch.sqrt((apart * apart).sum((1, 2, 3)) / amount + 1e-6)
        # how much of the blood lies far below the middle: 7, 14 and 22 HU in units of the picture
        low = [(functional.relu(-apart - d) * blood).sum((1, 2, 3)) / amount * 10 for d in (0.13, 0.25, 0.40)]
        extra = torch.stack([middle, spread * 4, *low], 1)
        hidden = self.hidden(torch.cat([mean, peak, extra, numbers], 1))
        return self.score(hidden), self.signs(hidden)


class ExpansionNet(nn.Module):
    """picture (n, 1, 24, 96, 96), about -1..1 -> mask logits (n, 2, 24, 96, 96), score logit (n, 1), sign logits (n, 6)."""

    def __init__(self, width: int = 8, look: int = 10) -> None:
        super().__init__()
        self.segmenter = Segmenter(width)
        self.closer = Closer(look)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mask = enlarged(self.segmenter(picture))
        cut, numbers = cut_out(picture, mask.sigmoid())
        score, signs = self.closer(cut, numbers)
        return mask, score, signs


def cut_out(picture: Tensor, share: Tensor, moved: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What lies around the parenchymal blood, (n, 3, *CUT_OUT), and (n, 6) numbers: log volumes in mL, where, how far apart.

    `moved` (n, 3) shifts the cut-out by so many voxels, for training.
    """
    blood = share[:, 0] * (share[:, 0] > 0.3)
    amount = blood.sum((1, 2, 3)) + 1e-3
    ventricular = share[:, 1].sum((1, 2, 3))
    centres, spreads = [], []
    for axis, size in enumerate(PICTURE):
        others = tuple(k + 1 for k in range(3) if k != axis)
        along = torch.arange(size, dtype=picture.dtype, device=picture.device)
        profile = blood.sum(others) / amount[:, None]
        centre = (profile * along).sum(1)
        centres.append(centre)
        spreads.append(torch.sqrt((profile * (along - centre[:, None]) ** 2).sum(1) + 1e-3))
    cut = torch.cat([picture, share], 1)
    for axis, (size, kept) in enumerate(zip(PICTURE, CUT_OUT, strict=True)):
        centre = centres[axis] if moved is None else centres[axis] + moved[:, axis]
        wanted = centre[:, None] + torch.arange(kept, dtype=picture.dtype, device=picture.device) - (kept - 1) / 2
        along = torch.arange(size, dtype=picture.dtype, device=picture.device)
        hats = functional.relu(1 - (wanted[:, :, None] - along).abs())
        cut = torch.einsum(("nkz,nczyx->nckyx", "nky,nczyx->nczkx", "nkx,nczyx->nczyk")[axis], hats, cut)
    voxel_ml = 6.0 * 2.2 * 2.2 / 1000
    numbers = torch.stack(
        [
            torch.log(amount * voxel_ml + 0.1) / 2,
            torch.log(ventricular * voxel_ml + 0.1) / 2,
            (centres[0] - 10) / 6,
            (centres[1] - 48) / 20,
            (centres[2] - 47.5).abs() / 15,
            spreads[0] / 3,
        ],
        1,
    )
    return cut, numbers
