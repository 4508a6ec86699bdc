"""Train the unified quantification and prognosis network and its two single-task baselines, on one core.

    python -m models.expansion.prepare        # once: the virtual cohort and its pictures
    python -m models.expansion.train          # once: its segmenter is a part of the extractor, and stands still
    python -m models.quantification.train     # goes on from the last checkpoint
    python -m models.quantification.train --smoke    # needs no data, under a minute
    python -m models.quantification.train --gpu=1    # a GPU with mixed precision

Two phases by the clock, each annealed: 1) upstream: the trunk with two provisional layers, volume and outcome together;
2) downstream: the two heads on the trunk, which stands still; at the end their last layers are fitted. The baselines do the same steps on the same batches with one
task each. evaluate.py measures; nothing here reads a test patient.
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
from torch import Tensor
from torch.nn import functional

from models.expansion.settings import from_command_line
from models.quantification.data import SPLIT_RULE, Cohort, cohort, masked
from models.quantification.last_layers import logistic_layer, put, volume_layer
from models.quantification.reading import Seen, seen, seen_batch
from triage_node.networks.quantification import ML_PER_UNIT, QuantificationNet
from triage_node.networks.residual import GAIN


@dataclass(frozen=True)
class Settings:
    # data and results
    pool: str = "build/expansion"
    run: str = "build/quantification/first"
    segmenter: str = "build/expansion/third/last.pt"  # whose masks of blood the extractor reads beside the picture
    start: str = ""  # a checkpoint whose averages are the first weights; the schedule begins anew
    seed: int = 11
    smoke: int = 0  # a built-in pool and some seconds, to see that everything runs
    smoke_patients: int = 40
    # losses: an error of one unit is one of the bound that is aimed at
    outcome: float = 1.0
    bound_ml: float = 2.0
    bound_share: float = 0.1
    # optimiser; schedule by the clock
    batch: int = 16
    minutes: float = 20.0
    minutes_heads: float = 5.0
    peak_rate: float = 4e-3
    weight_decay: float = 2e-3
    warm_up_steps: int = 20
    average: float = 0.99
    # system
    threads: int = 1
    gpu: int = 0
    bfloat16: int = 0  # a CPU that has it is quicker; one that has not is slower
    checkpoint_minutes: float = 2.0


VARIANTS = {"both": (1.0, 1.0), "volume": (1.0, 0.0), "outcome": (0.0, 1.0)}
"""Weights of (volume, outcome): the network, and the single-task baselines."""


def losses(volume: Tensor, outcome: Tensor, ml: Tensor, poor: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    """(volume, outcome). The volume's error is measured in bounds, which grow with the volume; Huber beyond one bound."""
    error = (volume[:, 0] - ml) / (settings.bound_ml + settings.bound_share * ml)
    coin = functional.binary_cross_entropy_with_logits(outcome[:, 0], torch.nan_to_num(poor), reduction="none")
    return functional.smooth_l1_loss(error, torch.zeros_like(error)), masked(coin, poor)


def rate(settings: Settings, step: int, done: float) -> float:
    """A linear warm-up, then half a cosine to nothing over the phase's minutes."""
    warm = min(1.0, (step + 1) / settings.warm_up_steps)
    return settings.peak_rate * warm * (0.5 + 0.5 * math.cos(math.pi * min(1.0, done))) + 1e-6


def watched(
    net: QuantificationNet, data: Cohort, pictures: Seen, which: np.ndarray, phase: int, device: torch.device
) -> str:
    """Median relative error of the volume on a few patients of "fit"."""
    net.eval()
    with torch.no_grad():
        picture = seen_batch(pictures, which).to(device)
        volume = net.upstream(picture)[0] if phase == 1 else net.of_read(picture).volume
    error = (volume[:, 0].cpu() - data.ml[which]).abs()
    return f"median error {error.median():.2f} mL, {100 * (error / data.ml[which]).median():.0f} %"


@torch.no_grad()
def pooled(net: QuantificationNet, pictures: Seen, which: np.ndarray, device: torch.device) -> dict[str, np.ndarray]:
    """What the last layers of both heads multiply. Shape: (n, channels) each."""
    net.eval()
    found: dict[str, list[Tensor]] = {"volume": [], "outcome": []}
    for part in np.array_split(which, max(1, len(which) // 32)):
        said = net.of_read(seen_batch(pictures, part).to(device))
        found["volume"].append(said.volume_maps.mean((2, 3, 4)))
        found["outcome"].append(said.outcome_maps.mean((2, 3, 4)))
    return {task: GAIN * torch.cat(parts).double().cpu().numpy() for task, parts in found.items()}


def fit_last_layers(
    net: QuantificationNet, data: Cohort, pictures: Seen, settings: Settings, device: torch.device
) -> None:
    """Both last layers, on the maps that were learned."""
    train, fit = data.of("train"), data.of("fit")
    x, beside = pooled(net, pictures, train, device), pooled(net, pictures, fit, device)
    poor, ml = data.poor_known.double().numpy(), data.ml.double().numpy()
    put(net.outcome.linear, 0, logistic_layer(x["outcome"], poor[train], beside["outcome"], poor[fit]))
    layer = net.volume.linear
    begin = layer.weight[0].detach().double().cpu().numpy() * ML_PER_UNIT, float(layer.bias.detach()[0]) * ML_PER_UNIT
    found = volume_layer(x["volume"], ml[train], begin, (settings.bound_ml, settings.bound_share))
    put(layer, 0, found, ML_PER_UNIT)


# ---- the run ----------------------------------------------------------------------------------------------------------


def main(settings: Settings) -> None:
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    device = torch.device("cuda" if settings.gpu else "cpu")
    folder = Path(settings.run)
    folder.mkdir(parents=True, exist_ok=True)
    data = cohort(settings.pool, settings.smoke_patients * bool(settings.smoke), settings.seed)
    pictures = seen(data, "" if settings.smoke else settings.segmenter)
    trained, beside = data.of("train"), data.of("fit")[:96]
    revision = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    followed = int((~torch.isnan(data.poor_known[trained])).sum())
    print(f"{len(trained)} patients, the outcome of {followed} known", flush=True)

    nets = {name: QuantificationNet().to(device) for name in VARIANTS}
    averages = {name: QuantificationNet().to(device) for name in VARIANTS}
    for name in VARIANTS:
        nets[name].load_state_dict(nets["both"].state_dict())
        averages[name].load_state_dict(nets["both"].state_dict())
    phase, step, elapsed = 1, 0, 0.0
    last = folder / "last.pt"
    if settings.start and not last.exists():
        begin = torch.load(settings.start, weights_only=True, map_location=device)
        if begin["data"] != data.pool.sha256 or begin["splits"]["rule"] != SPLIT_RULE:
            raise SystemExit(f"{settings.start} was trained on another pool or split: its patients would leak")
        for name in VARIANTS:
            nets[name].load_state_dict(begin["averages"][name])
            averages[name].load_state_dict(begin["averages"][name])
    for name in VARIANTS:
        nets[name].trunk.segmenter.load_state_dict(pictures.segmenter)
        averages[name].trunk.segmenter.load_state_dict(pictures.segmenter)
    kept = torch.load(last, weights_only=True, map_location=device) if last.exists() else None
    if kept:
        for name in VARIANTS:
            nets[name].load_state_dict(kept["nets"][name])
            averages[name].load_state_dict(kept["averages"][name])
        phase, step, elapsed = kept["phase"], kept["step"], kept["elapsed"]
    scaler = torch.amp.GradScaler(device.type, enabled=bool(settings.gpu))

    def save() -> None:
        state = {
            "nets": {k: n.state_dict() for k, n in nets.items()},
            "averages": {k: n.state_dict() for k, n in averages.items()},
            "optimisers": {k: o.state_dict() for k, o in optimisers.items()},
            "phase": phase, "step": step, "elapsed": elapsed, "settings": asdict(settings), "revision": revision,
            "seed": settings.seed, "data": data.pool.sha256,
            "splits": {"rule": SPLIT_RULE, "n": len(data.pool.patients)},
        }  # fmt: skip
        torch.save(state, last.with_suffix(".tmp"))
        last.with_suffix(".tmp").rename(last)

    while phase <= 2:
        minutes = settings.minutes if phase == 1 else settings.minutes_heads
        if phase == 2 and step == 0:
            for name in VARIANTS:
                nets[name].load_state_dict(averages[name].state_dict())
        learning = {}
        for name, net in nets.items():
            parts = [net.trunk, net.provisional] if phase == 1 else [net.volume, net.outcome]
            learning[name] = [p for part in parts for p in part.parameters()]
        optimisers = {
            name: torch.optim.AdamW(parameters, lr=settings.peak_rate, weight_decay=settings.weight_decay)
            for name, parameters in learning.items()
        }
        if kept and kept["phase"] == phase and step:
            for name in VARIANTS:
                optimisers[name].load_state_dict(kept["optimisers"][name])
        rng = np.random.default_rng([settings.seed, phase, step])
        began, first_step, begun, saved = time.monotonic() - elapsed, step, elapsed, elapsed
        order: list[int] = []
        running = dict.fromkeys(VARIANTS, math.nan)
        while elapsed < 60 * minutes:
            if len(order) < settings.batch:
                order = [*order, *rng.permutation(len(trained)).tolist()]
            which, order = trained[order[: settings.batch]], order[settings.batch :]
            picture = seen_batch(pictures, which, rng).to(device)
            ml, poor = data.ml[which].to(device), data.poor_known[which].to(device)
            for name, (of_volume, of_outcome) in VARIANTS.items():
                net, optimiser = nets[name], optimisers[name]
                for group in optimiser.param_groups:
                    group["lr"] = rate(settings, step, elapsed / (60 * minutes))
                net.train()
                with torch.autocast(device.type, torch.bfloat16, enabled=bool(settings.gpu or settings.bfloat16)):
                    if phase == 1:
                        volume, outcome = net.upstream(picture)
                    else:
                        net.trunk.eval()
                        with torch.no_grad():
                            features = net.trunk.of_read(picture)
                        volume, outcome, _, _ = net.downstream(features)
                by_volume, by_outcome = losses(volume.float(), outcome.float(), ml, poor, settings)
                loss = of_volume * by_volume + settings.outcome * of_outcome * by_outcome
                optimiser.zero_grad()
                scaler.scale(loss).backward()
                scaler.unscale_(optimiser)
                torch.nn.utils.clip_grad_norm_(learning[name], 5.0)
                scaler.step(optimiser)
                keep = min(settings.average, (step + 1) / (step + 10))
                with torch.no_grad():
                    pairs = zip(averages[name].state_dict().values(), net.state_dict().values(), strict=True)
                    for a, b in pairs:
                        a.copy_(b) if not a.is_floating_point() else a.mul_(keep).add_(b, alpha=1 - keep)
                now = loss.item()
                running[name] = now if math.isnan(running[name]) else 0.97 * running[name] + 0.03 * now
            scaler.update()
            step += 1
            elapsed = time.monotonic() - began
            if step % 25 == 0:
                pace = (elapsed - begun) / (step - first_step)
                left = max(0.0, 60 * minutes - elapsed)
                said = ", ".join(f"{k} {v:.3f}" for k, v in running.items())
                print(
                    f"phase {phase} step {step} of about {step + int(left / pace)} ({step * settings.batch / len(trained):.1f}"
                    f" epochs), {pace:.2f} s each, {left / 60:.1f} min left, loss {said}", flush=True,
                )  # fmt: skip
            if step % 200 == 0:
                print(step, watched(averages["both"], data, pictures, beside, phase, device), flush=True)
            if elapsed - saved > 60 * settings.checkpoint_minutes:
                save()
                saved = elapsed
        if phase == 2:
            for name in VARIANTS:
                fit_last_layers(averages[name], data, pictures, settings, device)
        print(f"phase {phase}: {watched(averages['both'], data, pictures, beside, phase, device)}", flush=True)
        phase, step, elapsed = phase + 1, 0, 0.0
        save()


SMOKE = {"run": "build/quantification/smoke", "minutes": 0.1, "minutes_heads": 0.05, "warm_up_steps": 2, "average": 0.8}

if __name__ == "__main__":
    wanted = from_command_line(Settings(), sys.argv[1:])
    if wanted.smoke:
        wanted = from_command_line(replace(Settings(), smoke=1, **SMOKE), sys.argv[1:])
        (Path(wanted.run) / "last.pt").unlink(missing_ok=True)
    main(wanted)
