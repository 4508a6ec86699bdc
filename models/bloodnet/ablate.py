"""Does the dependency help? BloodNet and the four ablations of the paper's claim, trained side by side on the same batches.

    python -m models.bloodnet.ablate --pool=build/bloodnet2

From scratch, equally long, at a reduced size, so that all five fit into minutes; measured on development heads by study and by
slice, with intervals by patient and each ablation's difference to the dependency. Rows `ablation_*` go into metadata.json.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.bloodnet import train
from models.bloodnet.export import write_manifest
from models.bloodnet.pool import IGNORE, Pool, built_in
from models.bloodnet.settings import from_command_line
from models.bloodnet.train import Batch, batch_of, choose, loss_of
from triage_node.detection.preprocess import network_input
from triage_node.detection.study_score import AGGREGATIONS
from triage_node.evaluation.bootstrap import auc_interval, interval
from triage_node.evaluation.metrics import auc
from triage_node.evaluation.scored import Answers
from triage_node.networks.bloodnet import OUTPUTS, WIDTHS, BloodNet

VARIANTS = {
    "dependency": "the class heads read the predicted mask, with gradient",
    "without_map": "the class head sees the decoder's features but no mask",
    "independent": "plain multi-task: the class head is a pool of the coarsest features",
    "map_only": "no class head: the mean of the 64 largest mask logits",
    "true_map": "the class heads read the true mask (upper bound)",
}
SURE = 6.0
"""Logit of a pixel of the true mask."""


@dataclass(frozen=True)
class Settings:
    pool: str = "build/bloodnet"
    bundle: str = str(Path(__file__).parent)
    out: str = "build/bloodnet/ablation.json"
    write: int = 1  # rows into the bundle's metadata.json too
    smoke: int = 0  # the built-in pool and a few steps
    steps: int = 500
    shrink: int = 2  # pixels of the working grid are averaged so many by so many
    batch: int = 8
    peak_rate: float = 2.5e-3
    seed: int = 5
    threads: int = 1


class Variant(BloodNet):
    """BloodNet whose class heads see something else. For "true_map", `given` must hold the true mask before every call."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.given: Tensor | None = None
        self.pooled = nn.Sequential(nn.Linear(2 * WIDTHS[-1], 48), nn.ReLU(), nn.Linear(48, len(OUTPUTS)))

    def heads(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        coarse, quarter, mask = self.trunk(picture)
        if self.name == "independent":
            logits = self.pooled(torch.cat([coarse.mean(dim=(2, 3)), coarse.amax(dim=(2, 3))], dim=1).float())
        elif self.name == "map_only":
            logits = mask.detach().flatten(2).topk(64, dim=2).values.mean(dim=2)
        elif self.name == "without_map":
            logits = self.judged(quarter, torch.full_like(mask, -SURE))[1]
        elif self.name == "true_map":
            assert self.given is not None
            return *self.judged(quarter, self.given), mask
        else:
            return *self.judged(quarter, mask), mask
        return logits, logits, mask


def true_mask(label: Tensor) -> Tensor:
    """Labels as sure logits. Shape: (n, h, w) -> (n, 6, h, w)."""
    blood = [(label > 0) & (label != IGNORE), *(label == k for k in range(1, len(OUTPUTS)))]
    return (torch.stack(blood, 1).float() * 2 - 1) * SURE


def smaller(batch: Batch, by: int) -> Batch:
    """The picture averaged, the label's maximum kept so that small bleeds stay."""
    label = functional.max_pool2d(batch.label[:, None].float(), by)[:, 0].byte()
    return replace(batch, picture=functional.avg_pool2d(batch.picture, by), label=label)


def trained(pool: Pool, settings: Settings) -> dict[str, Variant]:
    pool.index_for_training()
    nets = {}
    for name in VARIANTS:
        torch.manual_seed(settings.seed)
        nets[name] = Variant(name)
    optimisers = {
        n: torch.optim.AdamW(net.parameters(), lr=settings.peak_rate, weight_decay=1e-3) for n, net in nets.items()
    }
    rng = np.random.default_rng(settings.seed)
    recipe = replace(train.Settings(), batch=settings.batch, pictures=0.0)
    began = time.monotonic()
    for step in range(settings.steps):
        batch = smaller(batch_of(pool, choose(pool, rng, recipe), rng, recipe), settings.shrink)
        rate = settings.peak_rate * min(1, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * step / settings.steps))
        for name, net in nets.items():
            net.given = true_mask(batch.label)
            loss, _ = loss_of(net, batch)
            for group in optimisers[name].param_groups:
                group["lr"] = rate
            optimisers[name].zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimisers[name].step()
        if (step + 1) % 25 == 0:
            left = (time.monotonic() - began) / (step + 1) * (settings.steps - step - 1)
            print(f"step {step + 1} of {settings.steps}, {left / 60:.1f} min left", flush=True)
    return nets


@torch.no_grad()
def answered(nets: dict[str, Variant], pool: Pool, settings: Settings) -> tuple[dict[str, Answers], dict[str, Answers]]:
    """Per variant the development studies and their slices, in one order for all."""
    studies = pool.development()
    patients = np.unique([s["patient"] for s in studies], return_inverse=True)[1].astype(np.intp)
    slices: dict[str, list[np.ndarray]] = {n: [] for n in nets}
    for at, s in enumerate(studies):
        if at % 20 == 0:
            print(f"development head {at + 1} of {len(studies)}", flush=True)
        picture = functional.avg_pool2d(torch.from_numpy(network_input(pool.hu(s), s["tissue_hu"])), settings.shrink)
        label = torch.from_numpy(pool.labels[s["start"] : s["stop"]])
        label = functional.max_pool2d(label[:, None].float(), settings.shrink)[:, 0].byte()
        for name, net in nets.items():
            net.eval()
            net.given = true_mask(label)
            slices[name].append(net(picture)[1][:, 0].numpy().astype(np.float64))
    here = np.concatenate([np.arange(s["start"], s["stop"]) for s in studies])
    known = pool.positive[here] | pool.negative[here]
    of_slice = np.repeat(patients, [s["stop"] - s["start"] for s in studies])
    bleeds = np.array([bool(s["kinds"]) for s in studies])

    def by_study(logits: list[np.ndarray]) -> Answers:
        return Answers(bleeds, np.array([AGGREGATIONS["pair"](v) for v in logits]), patients)

    def by_slice(logits: list[np.ndarray]) -> Answers:
        return Answers(pool.positive[here][known], np.concatenate(logits)[known], of_slice[known])

    return {n: by_study(v) for n, v in slices.items()}, {n: by_slice(v) for n, v in slices.items()}


def rows(by_unit: dict[str, dict[str, Answers]], settings: Settings) -> list[dict]:
    """AUC of each variant and its paired difference to the dependency, with intervals by patient."""
    found = []
    size = f"{settings.steps} steps of {settings.batch} from scratch at 1/{settings.shrink} of the grid, one seed"
    for unit, by_variant in by_unit.items():
        whole = by_variant["dependency"]
        for name, words in VARIANTS.items():
            one = by_variant[name]

            def difference(drawn: np.ndarray, one: Answers = one, whole: Answers = whole) -> float | None:
                a, b = (auc(Answers(x.truth[drawn], x.probability[drawn], x.patients[drawn])) for x in (one, whole))
                return None if a is None or b is None else a - b

            pairs = [("auc", auc(one), auc_interval(one))]
            if name != "dependency":
                resamples = 2000 if unit == "study" else 300
                pairs.append(
                    (
                        "auc_minus_dependency",
                        difference(np.arange(one.n)),
                        interval(difference, one.patients, resamples),
                    )
                )
            for what, value, ends in pairs:
                low, high = ends or (None, None)
                row = {
                    "name": f"ablation_{unit}_{what}_{name}", "value": value, "low": low, "high": high, "n": one.n,
                    "n_patients": one.n_patients, "evidence": "E0",
                    "data": f"{words}; development heads, mostly simulated; {size}",
                }  # fmt: skip
                found.append({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
    return found


SMOKE = {"steps": 4, "shrink": 4, "batch": 4, "write": 0, "out": "build/bloodnet/smoke/ablation.json"}


def main(settings: Settings) -> list[dict]:
    torch.set_num_threads(settings.threads)
    pool = built_in(settings.seed) if settings.smoke else Pool.read(Path(settings.pool) / "train")
    by_study, by_slice = answered(trained(pool, settings), pool, settings)
    found = rows({"study": by_study, "slice": by_slice}, settings)
    out = Path(settings.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"settings": asdict(settings), "data": pool.sha256, "rows": found}, indent=2) + "\n")
    if settings.write:
        path = Path(settings.bundle) / "configs" / "metadata.json"
        manifest = json.loads(path.read_text())
        manifest["evaluation"] = [f for f in manifest["evaluation"] if not f["name"].startswith("ablation_")] + found
        write_manifest(Path(settings.bundle), manifest)
    for r in found:
        ends = "" if r["low"] is None else f" ({r['low']:.3f} to {r['high']:.3f})"
        print(f"{r['name']:48} {r['value']:.3f}{ends}")
    return found


if __name__ == "__main__":
    wanted = from_command_line(Settings(), sys.argv[1:])
    main(from_command_line(replace(Settings(), smoke=1, **SMOKE), sys.argv[1:]) if wanted.smoke else wanted)
