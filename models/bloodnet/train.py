"""Train BloodNet on the pools that prepare.py built. One core is enough; --gpu=1 uses a GPU with mixed precision.

    python -m models.bloodnet.train --minutes=180 --run=build/bloodnet/long
    python -m models.bloodnet.train --minutes=180 --run=build/bloodnet/long          # goes on from the last checkpoint
    python -m models.bloodnet.train --start=build/bloodnet/first/last.pt --run=build/bloodnet/second --peak_rate=1e-3
    python -m models.bloodnet.train --start=models/bloodnet/models/model.safetensors --run=build/bloodnet/more
    python -m models.bloodnet.train --smoke=1                                        # needs no data, under a minute

The rate falls by the clock, so that a run ends annealed whatever the machine does. What is kept is the moving average. A run
that goes on may do so with another --pool: the same heads with newly drawn bleeds. On the CPU, GLIBC_TUNABLES=glibc.malloc.hugetlb=1
in the environment makes a step a fifth shorter: much of it goes into fresh pages.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from monai.losses import DiceLoss, TverskyLoss
from monai.metrics import compute_roc_auc
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from models.bloodnet.augment import augmented
from models.bloodnet.pool import DEVELOPMENT_DIGIT, IGNORE, LEAST_PIXELS, ORIGINS, Pool, built_in, is_development
from models.bloodnet.settings import from_command_line
from triage_node.detection.preprocess import channels, network_input
from triage_node.detection.study_score import study_probability
from triage_node.networks.bloodnet import OUTPUTS, BloodNet


@dataclass(frozen=True)
class Settings:
    # data and results
    pool: str = "build/bloodnet"
    run: str = "build/bloodnet/first"
    start: str = ""  # checkpoint, or a bundle's model.safetensors, to begin with (a warm start; the clock starts anew)
    seed: int = 3
    smoke: int = 0  # a built-in pool and half a minute, to see that everything runs
    # batch: half positive, half negative
    batch: int = 8
    real: float = 0.18  # shares of the origins, the same for positives and negatives so that none is a cue
    mirrored: float = 0.48
    template: float = 0.16
    procedural: float = 0.18
    mining: int = 3  # a negative is the hardest known of so many drawn
    faint: int = 2  # a positive is the faintest known of so many drawn of its type
    pictures: float = 0.45  # share of samples that went through an 8-bit picture
    # optimiser; schedule by the clock
    minutes: float = 180.0
    peak_rate: float = 2.5e-3
    warm_up_steps: int = 150
    weight_decay: float = 1e-3
    average: float = 0.998
    # system
    threads: int = 1
    gpu: int = 0
    bfloat16: int = 0
    checkpoint_minutes: float = 2.5
    evaluate_minutes: float = 15.0


# ---- data -------------------------------------------------------------------------------------------------------------


OFTEN = {
    "sdh acute": 2, "sdh chronic": 3.5, "sdh isodense": 2.5, "sdh layered": 3, "sdh post-operative": 2.5, "sdh thin": 3, "sdh falx": 1.5,
    "edh thin": 3, "edh thick": 1.5, "sah basal": 1.5, "sah convexity": 2, "sah focal": 2.5,
    "iph contusion": 1.5, "iph infratentorial": 1.5, "ivh trace": 1.5,
}  # fmt: skip
"""How often a look is drawn as a positive, beside 1 for all others: more often what the network missed."""


def choose(pool: Pool, rng: np.random.Generator, settings: Settings) -> list[int]:
    """A batch: first half positive, every look as often as OFTEN says; hard negatives and faint positives more often than others."""
    names = [o for o in ORIGINS if o in pool.index]
    share = np.array([getattr(settings, o) for o in names])
    chosen = []
    for b in range(settings.batch):
        positives, negatives = pool.index[str(rng.choice(names, p=share / share.sum()))]
        if b < settings.batch // 2:
            often = np.array([OFTEN.get(look, 1.0) for look in positives])
            look = str(rng.choice(list(positives), p=often / often.sum()))
            drawn = rng.choice(positives[look], settings.faint)
            chosen.append(int(drawn[pool.known_logit[drawn].argmin()]))
        else:
            drawn = rng.choice(negatives, settings.mining)
            chosen.append(int(drawn[pool.known_logit[drawn].argmax()]))
    return chosen


@dataclass(frozen=True)
class Batch:
    """Shape: picture (n, 4, GRID, GRID), label (n, GRID, GRID), types (n, 6) 0/1; sure and real (n,) bool.

    real: only "any" is well known there. sure: the bleed was not pushed out of the picture, and none lies in part in its plane.
    """

    picture: Tensor
    label: Tensor
    types: Tensor
    sure: Tensor
    real: Tensor

    def to(self, device: torch.device) -> Batch:
        moved = (t.to(device, non_blocking=True) for t in (self.label, self.types, self.sure, self.real))
        return Batch(self.picture.to(device, memory_format=torch.channels_last, non_blocking=True), *moved)


MUCH_IGNORED = 40
"""A picture without blood, of which so many pixels are not known, is neither."""


def blood_pixels(label: Tensor) -> Tensor:
    return ((label > 0) & (label != IGNORE)).sum(dim=(1, 2))


def batch_of(pool: Pool, chosen: list[int], rng: np.random.Generator, settings: Settings) -> Batch:
    stacks, labels = (np.stack(part) for part in zip(*(pool.three(i, rng) for i in chosen), strict=True))
    hu, label = torch.from_numpy(stacks), torch.from_numpy(labels)
    before = blood_pixels(label)
    silent = (before == 0) & ((label == IGNORE).sum(dim=(1, 2)) < MUCH_IGNORED)
    studies = [pool.studies[pool.study_of[i]] for i in chosen]
    tissue = np.array([s["tissue_hu"] for s in studies], np.float32)
    hu, label, tissue = augmented(hu, label, tissue, rng, settings.pictures)
    below, centre, above = hu.numpy().transpose(1, 0, 2, 3)
    picture = torch.from_numpy(channels(below, centre, above, tissue[:, None, None, None]))
    pixels = torch.stack([(label == k).sum(dim=(1, 2)) for k in range(1, len(OUTPUTS))], dim=1)
    positive = before >= LEAST_PIXELS
    types = torch.cat([positive[:, None], pixels >= LEAST_PIXELS], dim=1).float()
    sure = torch.where(positive, blood_pixels(label) >= LEAST_PIXELS, silent)
    return Batch(picture, label, types, sure, torch.tensor([s["origin"] == "real" for s in studies]))


# ---- losses -----------------------------------------------------------------------------------------------------------

overlap = DiceLoss(batch=True, smooth_nr=20.0, smooth_dr=20.0, reduction="none")
misses = TverskyLoss(alpha=0.3, beta=0.7, smooth_nr=5.0, smooth_dr=5.0, reduction="none")
MOST_LIKE_BLOOD = 100
"""At least so many pixels of every picture answer for what is no blood."""
POSITIVE_WEIGHT = torch.tensor([4.0, 3.0, 3.0, 5.0, 4.0, 4.0])[:, None, None]


def hardest(mask: Tensor, blood: Tensor, known: Tensor) -> Tensor:
    """Every picture counts the same, however small or faint its bleed: all blood, and as many of the pixels most like blood.

    Cross entropy over all pixels hardly asks for a faint bleed, and an overlap has no gradient where the mask is surely empty.
    Shape: mask logits, blood and known (n, h, w).
    """
    total = mask.new_zeros(())
    for logits, here, sure in zip(mask, blood, known, strict=True):
        n = int(here.sum())
        silent = logits[sure & ~here]
        if n:
            total = total + functional.softplus(-logits[here]).mean()
        if len(silent):
            most = min(len(silent), max(n, MOST_LIKE_BLOOD))
            total = total + functional.softplus(silent.topk(most).values).mean()
    return total / len(mask)


def loss_of(net: BloodNet, batch: Batch) -> tuple[Tensor, Tensor]:
    """Loss and slice logits of "any"."""
    by_extent, by_picture, mask = (t.float() for t in net.heads(batch.picture))
    label, types = batch.label, batch.types
    known = (label != IGNORE)[:, None].float()
    target = torch.stack([(label > 0) & (label != IGNORE), *(label == k for k in range(1, len(OUTPUTS)))], 1).float()
    weight = torch.ones(len(label), len(OUTPUTS), 1, 1, device=label.device)
    weight[:, 1:] = 0.5
    weight[batch.real, 1:] *= 0.3
    pixel = functional.binary_cross_entropy_with_logits(
        mask, target, pos_weight=POSITIVE_WEIGHT.to(label.device), reduction="none"
    )
    total = 10 * (pixel * known * weight).mean()
    share = mask.sigmoid() * known
    dice = overlap(share, target).flatten()
    total = total + dice[0] + 0.3 * dice[1:].mean()
    bleeding = batch.sure & (types[:, 0] > 0)
    if bleeding.any():  # small bleeds count as much as large ones
        total = total + misses(share[bleeding, :1], target[bleeding, :1]).mean()
    total = total + 0.5 * hardest(mask[:, 0], target[:, 0] > 0, known[:, 0] > 0)
    weight = torch.ones_like(types)
    weight[:, 1:] = 0.3
    weight[batch.real, 1:] = 0.1
    weight = weight * batch.sure[:, None]
    for logits in (by_extent, by_picture):
        head = functional.binary_cross_entropy_with_logits(logits, types * 0.98 + 0.01, reduction="none")
        total = total + 1.5 * (head * weight).mean()
    return total, (by_extent + by_picture)[:, 0].detach() / 2


# ---- evaluation -------------------------------------------------------------------------------------------------------


ONE_OF = 4
"""Reading every slice of a pool would take as long as an epoch."""


@torch.no_grad()
def known_logits(net: BloodNet, pool: Pool) -> np.ndarray:
    """What a network says of the slices, so that mining knows hard and faint ones before it has met them. Shape: (slice,).

    It reads one slice of ONE_OF, which stands for those beside it; development heads, which nobody mines, stay 0.
    """
    device = next(net.parameters()).device
    net.eval()
    found = np.zeros_like(pool.known_logit)
    for n, s in enumerate(pool.studies):
        slices = s["stop"] - s["start"]
        if slices > ONE_OF // 2 and not is_development(s["patient"]):
            picture = torch.from_numpy(network_input(pool.hu(s), s["tissue_hu"])[ONE_OF // 2 :: ONE_OF]).to(device)
            logits = net(picture)[1][:, 0].cpu().numpy()
            nearest = np.minimum(np.arange(slices) // ONE_OF, len(logits) - 1)
            found[s["start"] : s["stop"]] = logits[nearest]
        if n % 100 == 0:
            print(f"reading the pool: study {n} of {len(pool.studies)}", flush=True)
    net.train()
    return found


@torch.no_grad()
def evaluate(net: BloodNet, pool: Pool) -> dict[str, float]:
    """Study AUC of the development heads, those of patients apart, by the score that serves."""
    device = next(net.parameters()).device
    net.eval()
    scores, truth, patients = [], [], []
    for s in pool.development():
        picture = torch.from_numpy(network_input(pool.hu(s), s["tissue_hu"])).to(device)
        logits = torch.cat([net(part)[1][:, 0] for part in picture.split(16)])
        scores.append(study_probability(logits.cpu().numpy()))
        truth.append(float(bool(s["kinds"])))
        patients.append(s["origin"] == "real" or (s["origin"] == "mirrored" and not s["kinds"]))
    net.train()
    y, p, r = torch.tensor(truth), torch.tensor(scores), torch.tensor(patients)
    return {
        "auc_real": float(compute_roc_auc(p[r], y[r])) if len(set(y[r].tolist())) == 2 else math.nan,
        "auc_all": float(compute_roc_auc(p, y)),
        "normal_90": float(p[y == 0].quantile(0.9)),
        "bleed_10": float(p[y > 0].quantile(0.1)),
    }


def rate(settings: Settings, step: int, elapsed: float) -> float:
    """1) a linear warm-up, 2) then half a cosine to nothing over the run's minutes, 3) never quite 0."""
    warm = min(1.0, (step + 1) / settings.warm_up_steps)
    done = min(1.0, elapsed / (60 * settings.minutes))
    return settings.peak_rate * warm * (0.5 + 0.5 * math.cos(math.pi * done)) + 1e-5


# ---- the run ----------------------------------------------------------------------------------------------------------


def starting_weights(path: Path) -> dict[str, Tensor]:
    """What a run kept as its average, or what a bundle carries."""
    if path.suffix == ".safetensors":
        return load_file(path)
    average: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")["average"]
    return average


def main(settings: Settings) -> None:
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    device = torch.device("cuda" if settings.gpu else "cpu")
    folder = Path(settings.run)
    folder.mkdir(parents=True, exist_ok=True)
    pool = built_in(settings.seed) if settings.smoke else Pool.read(Path(settings.pool) / "train")
    pool.index_for_training()
    print(f"{len(pool.sure)} slices, {pool.positive.sum()} positive, {pool.negative.sum()} negative", flush=True)

    net, average = BloodNet().to(device), BloodNet().to(device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.peak_rate, weight_decay=settings.weight_decay)
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
    step, elapsed = 0, 0.0
    last = folder / "last.pt"
    if last.exists():
        kept = torch.load(last, weights_only=True, map_location=device)
        net.load_state_dict(kept["net"])
        average.load_state_dict(kept["average"])
        optimiser.load_state_dict(kept["optimiser"])
        step, elapsed = kept["step"], kept["elapsed"]
        same = kept["data"] == pool.sha256
        pool.known_logit[:] = kept["known_logit"].numpy() if same else known_logits(average, pool)
    elif settings.start:
        weights = starting_weights(Path(settings.start))
        net.load_state_dict(weights)
        average.load_state_dict(weights)
        pool.known_logit[:] = known_logits(average, pool)
    else:
        average.load_state_dict(net.state_dict())
    net.to(memory_format=torch.channels_last).train()
    rng = np.random.default_rng([settings.seed, step])
    revision = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()

    def save() -> None:
        state = {
            "net": net.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict(), "step": step,
            "elapsed": elapsed, "settings": asdict(settings), "revision": revision, "data": pool.sha256,
            "known_logit": torch.from_numpy(pool.known_logit),
            "splits": {
                "development": f"names ending in {DEVELOPMENT_DIGIT}",
                "development_patients": sorted({s["patient"] for s in pool.development()}),
                "trained_patients": sorted({s["patient"] for s in pool.studies} - {s["patient"] for s in pool.development()}),
            },
        }  # fmt: skip
        torch.save(state, last.with_suffix(".tmp"))
        last.with_suffix(".tmp").rename(last)

    def drawn() -> tuple[list[int], Batch]:
        chosen = choose(pool, rng, settings)
        return chosen, batch_of(pool, chosen, rng, settings)

    ahead = ThreadPoolExecutor(1)  # the next batch is drawn while this one is learned from
    coming = ahead.submit(drawn)
    began, first_step = time.monotonic() - elapsed, step
    saved = evaluated = begun = elapsed
    running = 0.0
    while elapsed < 60 * settings.minutes:
        for group in optimiser.param_groups:
            group["lr"] = rate(settings, step, elapsed)
        chosen, batch = coming.result()
        as_kept = batch.sure.numpy() & ((batch.types[:, 0] > 0).numpy() == pool.positive[chosen])
        coming, batch = ahead.submit(drawn), batch.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bool(settings.gpu or settings.bfloat16)):
            loss, logits = loss_of(net, batch)
        optimiser.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimiser)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        scaler.step(optimiser)
        scaler.update()
        pool.known_logit[np.array(chosen)[as_kept]] = logits.cpu().numpy()[as_kept]
        keep = settings.average if settings.start else min(settings.average, (step + 1) / (step + 30))
        with torch.no_grad():
            for a, b in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
                a.copy_(b) if not a.is_floating_point() else a.mul_(keep).add_(b, alpha=1 - keep)
        step += 1
        elapsed = time.monotonic() - began
        running = loss.item() if not running else 0.98 * running + 0.02 * loss.item()
        if step % 50 == 0:
            pace = (elapsed - begun) / (step - first_step)
            left = 60 * settings.minutes - elapsed
            print(
                f"step {step} of about {step + int(left / pace)}, {pace:.2f} s each, {left / 60:.0f} min left, "
                f"loss {running:.3f}, rate {rate(settings, step, elapsed):.5f}",
                flush=True,
            )
        if elapsed - saved > 60 * settings.checkpoint_minutes:
            save()
            saved = elapsed
        if elapsed - evaluated > 60 * settings.evaluate_minutes:
            print(step, {k: round(v, 3) for k, v in evaluate(average, pool).items()}, flush=True)
            evaluated = elapsed = time.monotonic() - began
    ahead.shutdown()
    save()
    print(step, {k: round(v, 3) for k, v in evaluate(average, pool).items()}, flush=True)


SMOKE = {"run": "build/bloodnet/smoke", "minutes": 0.4, "warm_up_steps": 5, "average": 0.9, "checkpoint_minutes": 0.15}

if __name__ == "__main__":
    wanted = from_command_line(Settings(), sys.argv[1:])
    main(from_command_line(replace(Settings(), smoke=1, **SMOKE), sys.argv[1:]) if wanted.smoke else wanted)
