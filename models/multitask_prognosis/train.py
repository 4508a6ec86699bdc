"""Train outcome + ordinal GCS + age together, and the single-task and outcome + age baselines, on one core.

    python -m models.expansion.prepare               # once: the virtual cohort and its pictures
    python -m models.multitask_prognosis.train       # goes on from the last checkpoint
    python -m models.multitask_prognosis.train --smoke   # needs no data, under a minute
    python -m models.multitask_prognosis.train --gpu=1   # a GPU with mixed precision

Loss 0.4 / 0.3 / 0.3 (Cobo 2024); each task's loss leaves out patients whose label is missing. The baselines do the same
steps on the same batches from the same first weights. The tabular baseline needs no training here: evaluate.py fits it.
Nothing here reads a test patient.
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
from monai.metrics import compute_roc_auc
from torch import Tensor
from torch.nn import functional

from models.expansion.settings import from_command_line
from models.quantification.data import SPLIT_RULE, Cohort, batch_of, cohort, masked
from triage_node.networks.multitask_prognosis import LOSS_WEIGHTS, Multitask, MultitaskNet, cumulative


@dataclass(frozen=True)
class Settings:
    # data and results
    pool: str = "build/expansion"
    run: str = "build/multitask_prognosis/first"
    start: str = ""  # a checkpoint whose averages are the first weights; the schedule begins anew
    seed: int = 13
    smoke: int = 0  # a built-in pool and some seconds, to see that everything runs
    smoke_patients: int = 40
    # optimiser; schedule by the clock
    batch: int = 16
    minutes: float = 25.0
    peak_rate: float = 2e-3
    weight_decay: float = 1e-2
    warm_up_steps: int = 20
    average: float = 0.99
    # system
    threads: int = 1
    gpu: int = 0
    checkpoint_minutes: float = 2.0


VARIANTS = {
    "multitask": LOSS_WEIGHTS,
    "single": {"prognosis": 1.0, "gcs": 0.0, "age": 0.0},
    "with_age": {"prognosis": 0.4, "gcs": 0.0, "age": 0.3},
}
"""The network, and the baselines of the paper's ablation: outcome alone, outcome with age."""


def loss_of(said: Multitask, poor: Tensor, gcs: Tensor, old: Tensor, weights: dict[str, float]) -> Tensor:
    """Weighted sum of binary cross entropies; the GCS's is the mean over its two cumulative logits."""

    def coin(logits: Tensor, target: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(logits.float(), torch.nan_to_num(target), reduction="none")

    return (
        weights["prognosis"] * masked(coin(said.prognosis[:, 0], poor), poor)
        + weights["gcs"] * masked(coin(said.gcs, cumulative(torch.nan_to_num(gcs))).mean(1), gcs)
        + weights["age"] * masked(coin(said.age[:, 0], old), old)
    )


def rate(settings: Settings, step: int, done: float) -> float:
    """A linear warm-up, then half a cosine to nothing over the minutes."""
    warm = min(1.0, (step + 1) / settings.warm_up_steps)
    return settings.peak_rate * warm * (0.5 + 0.5 * math.cos(math.pi * min(1.0, done))) + 1e-6


def watched(nets: dict[str, MultitaskNet], data: Cohort, which: np.ndarray, device: torch.device) -> str:
    """AUC on patients of "fit": the outcome by every variant, age by the network."""

    def auc(score: Tensor, truth: Tensor) -> float:
        seen = ~torch.isnan(truth)
        some = 0 < truth[seen].sum() < seen.sum()
        return float(compute_roc_auc(score[seen], truth[seen])) if some else math.nan

    found = []
    with torch.no_grad():
        for name, net in nets.items():
            net.eval()
            said = [net.of_shrunk(batch_of(data, part).to(device)) for part in np.array_split(which, 8)]
            found.append(
                f"{name} {auc(torch.cat([s.prognosis for s in said])[:, 0].cpu(), data.poor_known[which]):.3f}"
            )
            if name == "multitask":
                age = torch.cat([s.age for s in said])[:, 0].cpu()
                found.append(f"(age {auc(age, data.old[which]):.3f})")
    return "AUC " + ", ".join(found)


# ---- the run ----------------------------------------------------------------------------------------------------------


def main(settings: Settings) -> None:
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    device = torch.device("cuda" if settings.gpu else "cpu")
    folder = Path(settings.run)
    folder.mkdir(parents=True, exist_ok=True)
    data = cohort(settings.pool, settings.smoke_patients * bool(settings.smoke), settings.seed)
    trained, beside = data.of("train"), data.of("fit")[:320]
    revision = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    followed = int((~torch.isnan(data.poor_known[trained])).sum())
    print(f"{len(trained)} patients, the outcome of {followed} known", flush=True)

    nets = {name: MultitaskNet().to(device) for name in VARIANTS}
    averages = {name: MultitaskNet().to(device) for name in VARIANTS}
    for name in VARIANTS:
        nets[name].load_state_dict(nets["multitask"].state_dict())
        averages[name].load_state_dict(nets["multitask"].state_dict())
    optimisers = {
        name: torch.optim.AdamW(net.parameters(), lr=settings.peak_rate, weight_decay=settings.weight_decay)
        for name, net in nets.items()
    }
    step, elapsed = 0, 0.0
    last = folder / "last.pt"
    if settings.start and not last.exists():
        begin = torch.load(settings.start, weights_only=True, map_location=device)
        if begin["data"] != data.pool.sha256 or begin["splits"]["rule"] != SPLIT_RULE:
            raise SystemExit(f"{settings.start} was trained on another pool or split: its patients would leak")
        for name in VARIANTS:
            nets[name].load_state_dict(begin["averages"][name])
            averages[name].load_state_dict(begin["averages"][name])
    if last.exists():
        kept = torch.load(last, weights_only=True, map_location=device)
        for name in VARIANTS:
            nets[name].load_state_dict(kept["nets"][name])
            averages[name].load_state_dict(kept["averages"][name])
            optimisers[name].load_state_dict(kept["optimisers"][name])
        step, elapsed = kept["step"], kept["elapsed"]
    scaler = torch.amp.GradScaler(device.type, enabled=bool(settings.gpu))

    def save() -> None:
        state = {
            "nets": {k: n.state_dict() for k, n in nets.items()},
            "averages": {k: n.state_dict() for k, n in averages.items()},
            "optimisers": {k: o.state_dict() for k, o in optimisers.items()},
            "step": step, "elapsed": elapsed, "settings": asdict(settings), "revision": revision,
            "seed": settings.seed, "data": data.pool.sha256,
            "splits": {"rule": SPLIT_RULE, "n": len(data.pool.patients)},
        }  # fmt: skip
        torch.save(state, last.with_suffix(".tmp"))
        last.with_suffix(".tmp").rename(last)

    rng = np.random.default_rng([settings.seed, step])
    began, first_step, begun, saved = time.monotonic() - elapsed, step, elapsed, elapsed
    order: list[int] = []
    running = dict.fromkeys(VARIANTS, math.nan)
    while elapsed < 60 * settings.minutes:
        if len(order) < settings.batch:
            order = [*order, *rng.permutation(len(trained)).tolist()]
        which, order = trained[order[: settings.batch]], order[settings.batch :]
        picture = batch_of(data, which, rng).to(device)
        labels = [y[which].to(device) for y in (data.poor_known, data.gcs, data.old)]
        for name, weights in VARIANTS.items():
            net, optimiser = nets[name], optimisers[name]
            for group in optimiser.param_groups:
                group["lr"] = rate(settings, step, elapsed / (60 * settings.minutes))
            net.train()
            with torch.autocast(device.type, torch.bfloat16, enabled=bool(settings.gpu)):
                said = net.of_shrunk(picture)
            loss = loss_of(said, *labels, weights)
            optimiser.zero_grad()
            scaler.scale(loss).backward()
            scaler.unscale_(optimiser)
            torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            scaler.step(optimiser)
            keep = min(settings.average, (step + 1) / (step + 10))
            with torch.no_grad():
                for a, b in zip(averages[name].state_dict().values(), net.state_dict().values(), strict=True):
                    a.copy_(b) if not a.is_floating_point() else a.mul_(keep).add_(b, alpha=1 - keep)
            now = loss.item()
            running[name] = now if math.isnan(running[name]) else 0.97 * running[name] + 0.03 * now
        scaler.update()
        step += 1
        elapsed = time.monotonic() - began
        if step % 25 == 0:
            pace = (elapsed - begun) / (step - first_step)
            left = max(0.0, 60 * settings.minutes - elapsed)
            said_now = ", ".join(f"{k} {v:.3f}" for k, v in running.items())
            print(
                f"step {step} of about {step + int(left / pace)} ({step * settings.batch / len(trained):.1f} epochs), "
                f"{pace:.2f} s each, {left / 60:.1f} min left, loss {said_now}", flush=True,
            )  # fmt: skip
        if step % 250 == 0:
            print(step, watched(averages, data, beside, device), flush=True)
        if elapsed - saved > 60 * settings.checkpoint_minutes:
            save()
            saved = elapsed
    if step > first_step:
        print(step, watched(averages, data, beside, device), flush=True)
    save()


SMOKE = {"run": "build/multitask_prognosis/smoke", "minutes": 0.1, "warm_up_steps": 2, "average": 0.8}

if __name__ == "__main__":
    wanted = from_command_line(Settings(), sys.argv[1:])
    if wanted.smoke:
        wanted = from_command_line(replace(Settings(), smoke=1, **SMOKE), sys.argv[1:])
        (Path(wanted.run) / "last.pt").unlink(missing_ok=True)
    main(wanted)
