"""Train the expansion network (Image-to-HE) on the pool that prepare.py drew. One core; --gpu uses a GPU with mixed precision.

    python -m models.expansion.train
    python -m models.expansion.train                       # goes on from the last checkpoint
    python -m models.expansion.train --definition="6 mL"   # another definition of expansion, kept in the checkpoint
    python -m models.expansion.train --start=build/expansion/first/last.pt --run=build/expansion/second --minutes_closer=0 --expansion=0
    python -m models.expansion.train --smoke               # needs no data, under a minute

Two phases by the clock, each annealed: 1) mask, expansion and signs together on whole pictures; 2) expansion and signs alone
on cut-outs, which costs a fifth. The logistic regressions are fitted by evaluate.py, on patients
that this script does not read.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from monai.losses import DiceLoss
from monai.metrics import compute_roc_auc
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.expansion.laid_out import as_scanned, mask_as_scanned, moved
from models.expansion.pool import SPLIT_RULE, Pool, built_in, read
from models.expansion.settings import from_command_line
from triage_node.networks.expansion import SIGNS, ExpansionNet, cut_out, enlarged
from triage_node.prognosis.expansion import VOXEL_ML, network_input
from triage_node.simulation.cohort import EXPANSION_DEFINITIONS


@dataclass(frozen=True)
class Settings:
    # data and results
    pool: str = "build/expansion"
    run: str = "build/expansion/first"
    start: str = ""  # checkpoint whose weights to begin with (a warm start; the clock starts anew)
    definition: str = "6 mL or 33 %"
    seed: int = 5
    smoke: int = 0  # a built-in pool and half a minute, to see that everything runs
    smoke_patients: int = 60
    # batches and losses
    batch: int = 4
    batch_closer: int = 16
    signs: float = 0.5  # weight of the loss of the signs
    expansion: float = 0.5  # weight of the heads' loss in phase 1, 0 learns the mask alone; 1 in phase 2
    volume: float = 0.2  # weight of the volume's error
    # optimiser; schedule by the clock
    minutes: float = 10.0  # phase 1
    minutes_closer: float = 14.0  # phase 2
    peak_rate: float = 3e-3
    peak_rate_closer: float = 2e-3
    weight_decay: float = 3e-3
    warm_up_steps: int = 30
    average: float = 0.99
    # system
    threads: int = 1
    gpu: int = 0
    bfloat16: int = 0  # a CPU that has it is 1.6 times quicker; one that has not is slower
    checkpoint_minutes: float = 2.0


LOOKED_AT = 60
"""Patients of the development split whose masks are compared now and then."""

# ---- data -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Labels:
    """Shape: expanded (n,), signs (n, len(SIGNS)); 0 or 1."""

    expanded: Tensor
    signs: Tensor


def labels_of(pool: Pool, definition: str) -> Labels:
    rule = EXPANSION_DEFINITIONS[definition]
    expanded = torch.tensor([float(p.expanded(rule)) for p in pool.patients])
    signs = torch.tensor([[float(getattr(p.bleed, s)) for s in SIGNS] for p in pool.patients])
    return Labels(expanded, signs)


@torch.no_grad()
def cut_outs_of(pool: Pool, which: NDArray[np.intp], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Cut-outs (n, 3, *CUT_OUT) float16 and numbers (n, 6) of moved pictures, by the true shares of blood: a tenth of the cost."""
    cuts, numbers = [], []
    for part in np.array_split(which, math.ceil(len(which) / 8)):
        picture, share = moved(pool, part, rng)
        cut, number = cut_out(picture, enlarged(share))
        cuts.append(cut.half())
        numbers.append(number)
    return torch.cat(cuts), torch.cat(numbers)


@torch.no_grad()
def watched_cut_outs(pictures: NDArray[np.uint8], net: ExpansionNet) -> tuple[Tensor, Tensor]:
    """As `cut_outs_of`, of pictures that the node laid out, by the network's masks."""
    device = next(net.parameters()).device
    cuts, numbers = [], []
    for part in np.array_split(pictures, math.ceil(len(pictures) / 8)):
        picture = torch.from_numpy(network_input(part)).to(device)
        cut, number = cut_out(picture, enlarged(net.segmenter(picture).sigmoid()))
        cuts.append(cut.cpu().half())
        numbers.append(number.cpu())
    return torch.cat(cuts), torch.cat(numbers)


def closer_batch(cuts: Tensor, rng: np.random.Generator) -> Tensor:
    """Augmented cut-outs: mirrored sides, shifted by up to two voxels, another calibration."""
    cut = cuts.float()
    for k in range(len(cut)):
        move = tuple(int(m) for m in rng.integers((-1, -2, -2), (2, 3, 3)))
        moved = torch.roll(cut[k], move, (1, 2, 3))
        cut[k] = moved.flip(-1) if rng.random() < 0.5 else moved
        cut[k, 0] += float(rng.normal(0, 0.04))
    return cut


# ---- losses and evaluation --------------------------------------------------------------------------------------------

overlap = DiceLoss(sigmoid=True, batch=True, smooth_nr=10.0, smooth_dr=10.0)


def mask_loss(mask: Tensor, share: Tensor, of_volume: float) -> Tensor:
    """Shape of both: (n, 2, 24, 48, 48), logits and the share of blood in each coarse pixel.

    The sum of the shares is the volume; its error is measured in bounds of 1 mL and a tenth, Huber beyond one.
    """
    pixel = functional.binary_cross_entropy_with_logits(mask, share)
    found, true = (s.sum((2, 3, 4)) * (4 * VOXEL_ML) for s in (mask.sigmoid(), share))
    error = (found - true) / (1.0 + 0.1 * true)
    return 20 * pixel + overlap(mask, share) + of_volume * functional.smooth_l1_loss(error, torch.zeros_like(error))


def head_loss(score: Tensor, signs: Tensor, labels: Labels, which: Tensor, weight_signs: float) -> Tensor:
    grown, seen = labels.expanded[which].to(score.device), labels.signs[which].to(score.device)
    expansion = functional.binary_cross_entropy_with_logits(score[:, 0], grown)
    return expansion + weight_signs * functional.binary_cross_entropy_with_logits(signs, seen)


def auc(score: Tensor, truth: Tensor) -> float:
    return float(compute_roc_auc(score, truth)) if 0 < truth.sum() < len(truth) else math.nan


@torch.no_grad()
def closer_figures(net: ExpansionNet, cuts: Tensor, numbers: Tensor, labels: Labels, which: Tensor, device) -> dict:
    net.eval()
    parts = [
        net.closer(c.float().to(device), n.to(device)) for c, n in zip(cuts.split(32), numbers.split(32), strict=True)
    ]
    score, signs = (torch.cat([p[k] for p in parts]).cpu() for k in (0, 1))
    found = {"auc_expansion": auc(score[:, 0], labels.expanded[which])}
    return {**found, **{f"auc_{s}": auc(signs[:, k], labels.signs[which, k]) for k, s in enumerate(SIGNS)}}


@torch.no_grad()
def mask_figures(net: ExpansionNet, pictures: NDArray[np.uint8], truth: NDArray[np.bool_], device: torch.device) -> str:
    """Of parenchymal blood, medians over patients: Dice, and the error of the volume by the mask and by the sum of shares."""
    net.eval()
    dice, by_mask, by_share, size = [], [], [], []
    for picture, blood in zip(pictures, truth, strict=True):
        logits = net.segmenter(torch.from_numpy(network_input(picture[None])).to(device))
        mask = (enlarged(logits)[0, 0] > 0).cpu().numpy()
        dice.append(2 * (mask & blood[0]).sum() / max(1, mask.sum() + blood[0].sum()))
        size.append(blood[0].sum() * VOXEL_ML)
        by_mask.append(mask.sum() * VOXEL_ML)
        by_share.append(float(logits[0, 0].sigmoid().sum()) * 4 * VOXEL_ML)
    wrong = [np.abs(np.array(v) - size) for v in (by_mask, by_share)]
    said = [f"{np.median(w):.2f} mL, {100 * np.median(w / np.array(size)):.0f} %" for w in wrong]
    bias = np.median((np.array(by_mask) - size) / np.array(size))
    return f"median Dice {np.median(dice):.3f}; volume off by {said[0]} (bias {100 * bias:.0f} %), by shares {said[1]}"


def rate(peak: float, settings: Settings, step: int, done: float) -> float:
    """A linear warm-up, then half a cosine to nothing over the phase's minutes."""
    warm = min(1.0, (step + 1) / settings.warm_up_steps)
    return peak * warm * (0.5 + 0.5 * math.cos(math.pi * min(1.0, done))) + 1e-6


# ---- the run ----------------------------------------------------------------------------------------------------------


def main(settings: Settings) -> None:
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    device = torch.device("cuda" if settings.gpu else "cpu")
    folder = Path(settings.run)
    folder.mkdir(parents=True, exist_ok=True)
    pool = built_in(settings.smoke_patients, settings.seed) if settings.smoke else read(Path(settings.pool))
    labels = labels_of(pool, settings.definition)
    watched = pool.development()
    trained = np.setdiff1d(pool.of("train"), watched)
    if len(watched) == 0:
        watched = trained[:4]  # a smoke run
    watched, watched_pictures = as_scanned(pool, watched)
    watched_truth = np.stack([mask_as_scanned(pool, i) for i in watched[:LOOKED_AT]])
    revision = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    print(f"{len(trained)} patients, {int(labels.expanded[trained].sum())} expand ({settings.definition})", flush=True)

    net, average = ExpansionNet().to(device), ExpansionNet().to(device)
    average.load_state_dict(net.state_dict())
    phase, step, elapsed = 1, 0, 0.0
    last = folder / "last.pt"
    kept = torch.load(last, weights_only=True, map_location=device) if last.exists() else None
    if kept:
        if kept["settings"]["definition"] != settings.definition:
            raise SystemExit(f"{last} was trained for {kept['settings']['definition']!r}: choose another --run")
        net.load_state_dict(kept["net"])
        average.load_state_dict(kept["average"])
        phase, step, elapsed = kept["phase"], kept["step"], kept["elapsed"]
    elif settings.start:
        warm = torch.load(settings.start, weights_only=True, map_location=device)
        net.load_state_dict(warm["average"])
        average.load_state_dict(warm["average"])
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")

    def save(optimiser: torch.optim.Optimizer) -> None:
        state = {
            "net": net.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict(),
            "phase": phase, "step": step, "elapsed": elapsed, "settings": asdict(settings), "revision": revision,
            "seed": settings.seed, "data": pool.sha256, "splits": {"rule": SPLIT_RULE, "n": len(pool.patients)},
        }  # fmt: skip
        torch.save(state, last.with_suffix(".tmp"))
        last.with_suffix(".tmp").rename(last)

    while phase <= 2:
        minutes = settings.minutes if phase == 1 else settings.minutes_closer
        peak = settings.peak_rate if phase == 1 else settings.peak_rate_closer
        learning = net if phase == 1 else net.closer
        if minutes == 0:
            phase += 1
            continue
        if phase == 2 and step == 0:
            net.load_state_dict(average.state_dict())
        optimiser = torch.optim.AdamW(learning.parameters(), lr=peak, weight_decay=settings.weight_decay)
        if kept and kept["phase"] == phase and step:
            optimiser.load_state_dict(kept["optimiser"])
        rng = np.random.default_rng([settings.seed, phase, step])
        if phase == 2:
            print(f"cutting out {len(trained) + len(watched)} bleeds", flush=True)
            cuts, numbers = cut_outs_of(pool, trained, rng)
            watched_cuts, watched_numbers = watched_cut_outs(watched_pictures, net.eval())
        began, first_step, begun = time.monotonic() - elapsed, step, elapsed
        saved, running = elapsed, 0.0
        order: list[int] = []
        while elapsed < 60 * minutes:
            for group in optimiser.param_groups:
                group["lr"] = rate(peak, settings, step, elapsed / (60 * minutes))
            batch = settings.batch if phase == 1 else settings.batch_closer
            if len(order) < batch:
                order = [*order, *rng.permutation(len(trained)).tolist()]
            at, order = np.sort(order[:batch]), order[batch:]
            learning.train()
            which = torch.from_numpy(trained[at])
            quick = torch.autocast(device.type, torch.bfloat16, enabled=bool(settings.gpu or settings.bfloat16))
            if phase == 1:
                picture, target = (t.to(device) for t in moved(pool, trained[at], rng))
                with quick:
                    mask = net.segmenter(picture)
                mask = mask.float()
                loss = mask_loss(mask, target, settings.volume)
                if settings.expansion:
                    score, signs = net.closer(*cut_out(picture, enlarged(mask).sigmoid()))
                    loss = loss + settings.expansion * head_loss(score, signs, labels, which, settings.signs)
            else:
                with quick:
                    score, signs = net.closer(closer_batch(cuts[at], rng).to(device), numbers[at].to(device))
                loss = head_loss(score.float(), signs.float(), labels, which, settings.signs)
            optimiser.zero_grad()
            scaler.scale(loss).backward()
            scaler.unscale_(optimiser)
            torch.nn.utils.clip_grad_norm_(learning.parameters(), 5.0)
            scaler.step(optimiser)
            scaler.update()
            keep = settings.average if settings.start else min(settings.average, (step + 1) / (step + 10))
            with torch.no_grad():
                for a, b in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
                    a.copy_(b) if not a.is_floating_point() else a.mul_(keep).add_(b, alpha=1 - keep)
            step += 1
            elapsed = time.monotonic() - began
            running = loss.item() if not running else 0.97 * running + 0.03 * loss.item()
            if step % 25 == 0:
                pace = (elapsed - begun) / (step - first_step)
                left = 60 * minutes - elapsed
                print(
                    f"phase {phase} step {step} of about {step + int(left / pace)}, {pace:.2f} s each, "
                    f"{left / 60:.1f} min left, loss {running:.3f}", flush=True,
                )  # fmt: skip
            if phase == 2 and step % 200 == 0:
                found = closer_figures(
                    average, watched_cuts, watched_numbers, labels, torch.from_numpy(watched), device
                )
                print(step, {k: round(v, 3) for k, v in found.items()}, flush=True)
            if phase == 1 and step % 1000 == 0:
                print(step, mask_figures(average, watched_pictures[:LOOKED_AT], watched_truth, device), flush=True)
            if elapsed - saved > 60 * settings.checkpoint_minutes:
                save(optimiser)
                saved = elapsed
        if phase == 1:
            print(mask_figures(average, watched_pictures[:LOOKED_AT], watched_truth, device), flush=True)
        else:
            found = closer_figures(average, watched_cuts, watched_numbers, labels, torch.from_numpy(watched), device)
            print(step, {k: round(v, 3) for k, v in found.items()}, flush=True)
        phase, step, elapsed = phase + 1, 0, 0.0
        save(optimiser)


SMOKE = {"run": "build/expansion/smoke", "minutes": 0.15, "minutes_closer": 0.1, "warm_up_steps": 2, "average": 0.8}

if __name__ == "__main__":
    wanted = from_command_line(Settings(), sys.argv[1:])
    main(from_command_line(replace(Settings(), smoke=1, **SMOKE), sys.argv[1:]) if wanted.smoke else wanted)
