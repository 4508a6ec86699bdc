"""Train BloodNet on the pools that prepare.py built. One core is enough; with more, set --threads.

    python -m models.bloodnet.train --minutes=50 --run=build/bloodnet/first
    python -m models.bloodnet.train --minutes=50 --run=build/bloodnet/first          # goes on from the last checkpoint
    python -m models.bloodnet.train --start=build/bloodnet/first/last.pt --run=build/bloodnet/second --peak_rate=1e-3

The rate falls by the clock, so that a run ends annealed whatever the machine does. What is kept is the moving average.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from monai.losses import DiceLoss, TverskyLoss
from monai.metrics import compute_roc_auc
from torch import Tensor
from torch.nn import functional

from models.bloodnet.settings import from_command_line
from models.bloodnet.sources import IGNORE, LEAST_PIXELS
from triage_node.detection.preprocess import GRID, channels, network_input
from triage_node.detection.study_score import study_probability
from triage_node.networks.bloodnet import OUTPUTS, BloodNet


@dataclass(frozen=True)
class Settings:
    # data and results
    pool: str = "build/bloodnet"
    run: str = "build/bloodnet/first"
    start: str = ""  # checkpoint whose weights to begin with (a warm start; the clock starts anew)
    seed: int = 3
    # batch: half positive, half negative
    batch: int = 8
    real: float = 0.22  # shares of the origins, the same for positives and negatives so that none is a cue
    mirrored: float = 0.33
    template: float = 0.15
    procedural: float = 0.30
    mining: int = 3  # a negative is the hardest known of so many drawn
    # optimiser; schedule by the clock
    minutes: float = 50.0
    peak_rate: float = 2.5e-3
    warm_up_steps: int = 150
    weight_decay: float = 1e-3
    average: float = 0.998
    # system
    threads: int = 1
    bfloat16: int = 0
    checkpoint_minutes: float = 2.5
    evaluate_minutes: float = 10.0


# ---- data -------------------------------------------------------------------------------------------------------------


class Pool:
    """Slices of one set (train or validation) by origin. `studies` says where each study starts and stops."""

    def __init__(self, folder: Path) -> None:
        parts = sorted(p for p in folder.iterdir() if (p / "studies.json").exists())
        self.sha256 = {p.name: (p / "sha256").read_text().strip() for p in parts}
        self.pictures = np.concatenate([np.load(p / "pictures.npy") for p in parts])  # (slice, GRID, GRID) HU x 2
        self.labels = np.concatenate([np.load(p / "labels.npy") for p in parts])
        self.sure = np.concatenate([np.load(p / "sure.npy") for p in parts])
        self.studies = []
        offset = 0
        for p in parts:
            studies = json.loads((p / "studies.json").read_text())
            self.studies += [{**s, "start": s["start"] + offset, "stop": s["stop"] + offset} for s in studies]
            offset = self.studies[-1]["stop"]
        self.study_of = np.repeat(np.arange(len(self.studies)), [s["stop"] - s["start"] for s in self.studies])
        blood = (self.labels > 0) & (self.labels != IGNORE)
        self.positive = self.sure & (blood.sum(axis=(1, 2)) >= LEAST_PIXELS)
        self.negative = self.sure & ~self.positive & ((self.pictures > 20).mean(axis=(1, 2)) > 0.02)
        self.types = np.stack([(self.labels == k).sum(axis=(1, 2)) >= LEAST_PIXELS for k in range(1, len(OUTPUTS))], 1)
        self.index = {}  # origin: (positives of each type that occurs, negatives)
        origins = np.array([s["origin"] for s in self.studies])[self.study_of]
        for origin in ("real", "mirrored", "template", "procedural"):
            here = origins == origin
            by_type = [np.flatnonzero(here & self.positive & self.types[:, k]) for k in range(self.types.shape[1])]
            self.index[origin] = ([i for i in by_type if len(i)], np.flatnonzero(here & self.negative))
        self.hardness = np.zeros(len(self.sure), np.float32)  # last known logit of a negative

    def choose(self, rng: np.random.Generator, settings: Settings) -> list[int]:
        names = [o for o, (pos, neg) in self.index.items() if pos and len(neg)]
        share = np.array([getattr(settings, o) for o in names])
        chosen = []
        for b in range(settings.batch):
            positives, negatives = self.index[str(rng.choice(names, p=share / share.sum()))]
            if b < settings.batch // 2:
                chosen.append(int(rng.choice(positives[rng.integers(len(positives))])))
            else:
                drawn = rng.choice(negatives, settings.mining)
                chosen.append(int(drawn[self.hardness[drawn].argmax()]))
        return chosen

    def three(self, i: int, rng: np.random.Generator) -> np.ndarray:
        """A slice between its neighbours in HU; often they are the slice itself, as in thick or single ones."""
        s = self.studies[self.study_of[i]]
        near = [max(s["start"], i - 1), i, min(s["stop"] - 1, i + 1)]
        stack = self.pictures[near].astype(np.float32) / 2
        coin = rng.random()
        if coin < 0.25:
            stack[[0, 2]] = stack[1]
        elif coin < 0.4:
            part = rng.uniform(0.2, 0.8)
            stack[[0, 2]] = part * stack[[0, 2]] + (1 - part) * stack[1]
        return stack[::-1].copy() if rng.random() < 0.5 else stack


def augmented(hu: Tensor, label: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Another pose, kernel, calibration and dose. Shape: hu (n, 3, GRID, GRID), label (n, GRID, GRID)."""
    n = len(hu)

    def uniform(low: float, high: float, chance: float = 1.0) -> Tensor:
        values = rng.uniform(low, high, (n, 1, 1, 1)) * (rng.random((n, 1, 1, 1)) < chance)
        return torch.from_numpy(values.astype(np.float32))

    turn = np.deg2rad(rng.uniform(-25, 25, n))
    scale, aspect = rng.uniform(0.87, 1.15, n), np.exp(rng.normal(0, 0.06, n))
    flip = rng.choice([-1.0, 1.0], n)
    theta = np.zeros((n, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 0, 1] = np.cos(turn) * aspect * flip, -np.sin(turn) / aspect
    theta[:, 1, 0], theta[:, 1, 1] = np.sin(turn) * aspect * flip, np.cos(turn) / aspect
    theta[:, :, :2] *= scale[:, None, None]
    theta[:, :, 2] = rng.uniform(-0.06, 0.06, (n, 2))
    grid = functional.affine_grid(torch.from_numpy(theta), [n, 1, GRID, GRID], align_corners=False)
    hu = functional.grid_sample(hu, grid, align_corners=False)
    label = functional.grid_sample(label[:, None].float(), grid, mode="nearest", align_corners=False)[:, 0].byte()
    air = hu < 0.5
    hu = hu + uniform(-1.3, 0.9, 0.6) * (blurred(hu) - hu)  # kernel, sharper or softer
    if rng.random() < 0.2:
        side = int(GRID * rng.uniform(0.5, 0.9))
        hu = functional.interpolate(functional.interpolate(hu, size=side, mode="area"), size=GRID, mode="bilinear")
    hu = (hu - 30) * uniform(0.93, 1.08) + 30 + uniform(-4, 4)
    shade = torch.from_numpy(rng.standard_normal((n, 1, 4, 4)).astype(np.float32))
    hu = hu + functional.interpolate(shade, size=GRID, mode="bilinear") * uniform(0, 2, 0.5)
    white = torch.from_numpy(rng.standard_normal(hu.shape, dtype=np.float32))
    part = uniform(0, 1)
    noise = white * part + blurred(white) * 2 * (1 - part)
    hu = hu + noise * uniform(0, 5.5, 0.75)
    return torch.where(air, hu.clamp(0, 3), hu.clamp(0, 100)), label


KERNEL = torch.outer(torch.tensor([1.0, 2.0, 1.0]), torch.tensor([1.0, 2.0, 1.0]))[None, None] / 16


def blurred(x: Tensor) -> Tensor:
    flat = x.reshape(-1, 1, *x.shape[-2:])
    return functional.conv2d(functional.pad(flat, (1, 1, 1, 1), mode="replicate"), KERNEL).reshape(x.shape)


# ---- losses -----------------------------------------------------------------------------------------------------------

overlap = DiceLoss(batch=True, smooth_nr=20.0, smooth_dr=20.0, reduction="none")
misses = TverskyLoss(alpha=0.3, beta=0.7, smooth_nr=5.0, smooth_dr=5.0, reduction="none")
POSITIVE_WEIGHT = torch.tensor([4.0, 3.0, 3.0, 5.0, 4.0, 4.0])[:, None, None]


def loss_of(net: BloodNet, picture: Tensor, label: Tensor, types: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and slice logits of "any". Shape: types (n, 6) 0/1, real (n,) bool: there only "any" is well known."""
    by_extent, by_picture, mask = (t.float() for t in net.heads(picture))
    known = (label != IGNORE)[:, None].float()
    target = torch.stack([(label > 0) & (label != IGNORE), *(label == k for k in range(1, len(OUTPUTS)))], 1).float()
    weight = torch.ones(len(label), len(OUTPUTS), 1, 1)
    weight[:, 1:] = 0.5
    weight[real, 1:] *= 0.3
    pixel = functional.binary_cross_entropy_with_logits(mask, target, pos_weight=POSITIVE_WEIGHT, reduction="none")
    total = 10 * (pixel * known * weight).mean()
    share = mask.sigmoid() * known
    dice = overlap(share, target).flatten()
    total = total + dice[0] + 0.3 * dice[1:].mean()
    bleeding = types[:, 0] > 0
    total = total + misses(share[bleeding, :1], target[bleeding, :1]).mean()  # small bleeds count as much as large ones
    weight = torch.ones_like(types)
    weight[:, 1:] = 0.3
    weight[real, 1:] = 0.1
    for logits in (by_extent, by_picture):
        head = functional.binary_cross_entropy_with_logits(logits, types * 0.98 + 0.01, reduction="none")
        total = total + 1.5 * (head * weight).mean()
    return total, (by_extent + by_picture)[:, 0].detach() / 2


# ---- evaluation -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def evaluate(net: BloodNet, pool: Pool, patients_only: bool = True) -> dict[str, float]:
    """Study AUC of the validation patients against their mirrored normals, by the score that serves."""
    net.eval()
    scores, truth, real = [], [], []
    for s in pool.studies:
        if patients_only and not (s["origin"] == "real" or (s["origin"] == "mirrored" and not s["kinds"])):
            continue
        hu = pool.pictures[s["start"] : s["stop"]].astype(np.float32) / 2
        logits = net(torch.from_numpy(network_input(hu, s["tissue_hu"])))[1][:, 0]
        scores.append(study_probability(logits.numpy()))
        truth.append(float(bool(s["kinds"])))
        real.append(s["origin"] == "real" or not s["kinds"])
    net.train()
    y, p, r = torch.tensor(truth), torch.tensor(scores), torch.tensor(real)
    return {
        "auc_real": float(compute_roc_auc(p[r], y[r])),
        "auc_all": float(compute_roc_auc(p, y)),
        "normal_90": float(p[y == 0].quantile(0.9)),
        "real_10": float(p[r & (y > 0)].quantile(0.1)),
    }


def rate(settings: Settings, step: int, elapsed: float) -> float:
    """1) a linear warm-up, 2) then half a cosine to nothing over the run's minutes, 3) never quite 0."""
    warm = min(1.0, (step + 1) / settings.warm_up_steps)
    done = min(1.0, elapsed / (60 * settings.minutes))
    return settings.peak_rate * warm * (0.5 + 0.5 * math.cos(math.pi * done)) + 1e-5


# ---- the run ----------------------------------------------------------------------------------------------------------


def main(settings: Settings) -> None:
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    folder = Path(settings.run)
    folder.mkdir(parents=True, exist_ok=True)
    train, validation = Pool(Path(settings.pool) / "train"), Pool(Path(settings.pool) / "validation")
    print(f"{len(train.sure)} slices, {train.positive.sum()} positive, {train.negative.sum()} negative", flush=True)

    net = BloodNet()
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.peak_rate, weight_decay=settings.weight_decay)
    average = BloodNet()
    step, elapsed = 0, 0.0
    last = folder / "last.pt"
    if last.exists():
        kept = torch.load(last, weights_only=True)
        net.load_state_dict(kept["net"])
        average.load_state_dict(kept["average"])
        optimiser.load_state_dict(kept["optimiser"])
        step, elapsed = kept["step"], kept["elapsed"]
    elif settings.start:
        kept = torch.load(settings.start, weights_only=True)
        net.load_state_dict(kept["average"])
        average.load_state_dict(kept["average"])
    else:
        average.load_state_dict(net.state_dict())
    net.to(memory_format=torch.channels_last).train()
    rng = np.random.default_rng([settings.seed, step])
    revision = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()

    def save() -> None:
        state = {
            "net": net.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict(), "step": step,
            "elapsed": elapsed, "settings": asdict(settings), "revision": revision, "data": train.sha256,
            "validation_data": validation.sha256,
        }  # fmt: skip
        torch.save(state, last.with_suffix(".tmp"))
        last.with_suffix(".tmp").rename(last)

    began = time.monotonic() - elapsed
    saved, evaluated, running = elapsed, elapsed, 0.0
    while elapsed < 60 * settings.minutes:
        for group in optimiser.param_groups:
            group["lr"] = rate(settings, step, elapsed)
        chosen = train.choose(rng, settings)
        hu = torch.from_numpy(np.stack([train.three(i, rng) for i in chosen]))
        hu, label = augmented(hu, torch.from_numpy(train.labels[chosen]), rng)
        studies = [train.studies[train.study_of[i]] for i in chosen]
        tissue = np.array([s["tissue_hu"] for s in studies], np.float32) + rng.normal(0, 1.2, len(chosen))
        below, centre, above = hu.numpy().transpose(1, 0, 2, 3)
        picture = torch.from_numpy(channels(below, centre, above, tissue[:, None, None, None].astype(np.float32)))
        types = np.concatenate([train.positive[chosen][:, None], train.types[chosen]], axis=1).astype(np.float32)
        real = torch.tensor([s["origin"] == "real" for s in studies])
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(settings.bfloat16)):
            loss, logits = loss_of(
                net, picture.contiguous(memory_format=torch.channels_last), label, torch.from_numpy(types), real
            )
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        train.hardness[chosen] = logits.numpy()
        keep = min(settings.average, (step + 1) / (step + 30)) if not settings.start else settings.average
        with torch.no_grad():
            for a, b in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
                a.copy_(b) if not a.is_floating_point() else a.mul_(keep).add_(b, alpha=1 - keep)
        step += 1
        elapsed = time.monotonic() - began
        running = loss.item() if step == 1 else 0.98 * running + 0.02 * loss.item()
        if step % 50 == 0:
            print(
                f"{step} steps {elapsed:.0f} s loss {running:.3f} rate {rate(settings, step, elapsed):.5f}", flush=True
            )
        if elapsed - saved > 60 * settings.checkpoint_minutes:
            save()
            saved = elapsed
        if elapsed - evaluated > 60 * settings.evaluate_minutes:
            print(step, {k: round(v, 3) for k, v in evaluate(average, validation).items()}, flush=True)
            evaluated = elapsed = time.monotonic() - began
    save()
    print(step, {k: round(v, 3) for k, v in evaluate(average, validation, patients_only=False).items()}, flush=True)


if __name__ == "__main__":
    main(from_command_line(Settings(), sys.argv[1:]))
