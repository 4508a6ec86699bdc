"""The site shift: thresholds moved by what a site's own unlabelled studies show, as a draft that nothing applies.

Scores of another scanner drift as a whole. Where more than a quarter of the studies bleed not, the QUANTILE of all scores lies
among those without hemorrhage; its distance to the same quantile of the studies that the thresholds were chosen on is taken for
the drift, and the thresholds follow it. No label is read. What is assumed, and what changes, stands in the draft; any change of
thresholds sets a site back to observe mode until its own evaluation says otherwise.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from triage_node.bundle.load import Bundle
from triage_node.detection.ich import BloodNetDetector
from triage_node.domain.case import Case
from triage_node.domain.errors import EvaluationError, TriageNodeError
from triage_node.domain.finding import OperatingPoint
from triage_node.evaluation.answering import answer

QUANTILE = 0.25
LEAST_PATIENTS = 50
MOST_SHIFT = 3.0
"""Logits. More is no drift of a scanner but other material."""
MOST_NOTIFIED = 0.5
"""Share above `notify` from which the studies are taken for selected ones: the quantile is then no negative any more."""
RESAMPLES = 1000

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SiteScore:
    """One unlabelled study of the site: what the bundle says of it before any shift."""

    study: str
    patient: str
    scanner: str
    probability: float
    simulated: bool = False


def score_site(
    detector: BloodNetDetector, cases: Iterable[Case], advance: Callable[[], None] = lambda: None
) -> tuple[list[SiteScore], list[tuple[str, str]]]:
    """Scores of all studies that can be read, and (study, reason) of the others: what a node declines moves no threshold."""
    scores, left_out = [], []
    for case in cases:
        try:
            found = answer(detector, case.load())
        except (TriageNodeError, ValueError, OSError) as error:
            left_out.append((case.key, str(error)))
        else:
            if found.study is None:
                left_out.append((case.key, "a single picture is no study"))
            elif found.declined:
                left_out.append((case.key, found.declined))
            else:
                scanner = case.scanner or "not known"
                scores.append(SiteScore(case.study_id, case.patient_id, scanner, found.study, case.simulated))
        advance()
    return scores, left_out


def point_of(bundle: Bundle) -> OperatingPoint:
    """The bundle's own thresholds, version 0. Raises EvaluationError when it stores none."""
    entry = bundle.manifest.operating_points.get("ich")
    if entry is None:
        raise EvaluationError(f"bundle {bundle.manifest.name} stores no thresholds that could be moved")
    return OperatingPoint("ich", entry.raise_probability, entry.notify_probability, 0, entry.unsure_from)


def reference_of(bundle: Bundle) -> float:
    """Quantile of the study logits that the thresholds were chosen on. Raises EvaluationError when the bundle has none."""
    entry = bundle.manifest.operating_points.get("ich")
    value = None if entry is None else entry.quartile_logit
    if value is None:
        raise EvaluationError(
            f"bundle {bundle.manifest.name} {bundle.manifest.version} stores no quartile_logit beside its thresholds: "
            "there is nothing to hold a site's scores against"
        )
    return value


def quartile_logit(probabilities: Sequence[float] | Array) -> float:
    """What a bundle stores as `quartile_logit`: of studies without hemorrhage that its thresholds were chosen on."""
    return float(np.quantile(_logit(probabilities), QUANTILE))


def draft(
    scores: Sequence[SiteScore],
    point: OperatingPoint,
    base: OperatingPoint,
    reference: float,
    bundle: dict[str, str],
    seed: int = 0,
) -> dict[str, Any]:
    """The proposal with its change shown. One study per patient counts, the first.

    `point`: thresholds in force. `base`: the bundle's own, which belong to `reference` and which the shift moves, so that
    a site that calibrates twice does not shift twice.

    Raises EvaluationError for too few patients, simulated studies among them, a one-sided set, or a shift beyond MOST_SHIFT.
    """
    if made := [s.study for s in scores if s.simulated]:
        raise EvaluationError(
            f"{len(made)} of {len(scores)} studies are simulated ({', '.join(made[:3])}): a shift needs the site's own"
        )
    first = list({s.patient: s for s in reversed(scores)}.values())[::-1]
    if len(first) < LEAST_PATIENTS:
        raise EvaluationError(
            f"{len(first)} patients with a study that can be read; a shift needs at least {LEAST_PATIENTS}, "
            "consecutive and unselected"
        )
    logits = _logit([s.probability for s in first])
    _two_sided(logits, point)
    site = float(np.quantile(logits, QUANTILE))
    shift = site - reference
    if abs(shift) > MOST_SHIFT:
        raise EvaluationError(
            f"the scores lie {shift:+.2f} logits from the reference; more than {MOST_SHIFT:g} is no drift of a scanner: "
            "look at the studies and at what the node says of them"
        )
    rng = np.random.default_rng([seed, 0x5417])
    again = np.quantile(rng.choice(logits, (RESAMPLES, len(logits))), QUANTILE, axis=1) - reference
    low, high = (float(v) for v in np.quantile(again, [0.025, 0.975]))
    proposed = moved(base, shift)
    before, after = (_answers(logits, p) for p in (point, proposed))
    changed = [
        {"study": s.study, "probability": round(s.probability, 4), "before": b, "after": a}
        for s, b, a in zip(first, before, after, strict=True)
        if b != a
    ]
    return {
        "format": 1,
        "draft": True,
        "applied": False,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "bundle": bundle,
        "policy": {"ich": body_of(proposed)},
        "in_force": {"ich": body_of(point), "version": point.version},
        "shift_logit": shift,
        "shift_interval": [low, high],
        "quantile": QUANTILE,
        "reference_quantile_logit": reference,
        "site_quantile_logit": site,
        "patients": len(first),
        "studies": len(scores),
        "scanners": dict(Counter(s.scanner for s in first)),
        "rates": {"before": _rates(before), "after": _rates(after)},
        "changed": changed,
        "supported": not low <= 0 <= high,
        "notes": [
            "A draft: nothing was applied. Thresholds change only when two people take it in: `triage-node adopt`.",
            "Assumed: consecutive, unselected studies, more than a quarter of them without hemorrhage, one drift for all "
            "scanners. Rates of flags are shown, not sensitivity or specificity: those need labels.",
            "Any change of thresholds sets the site back to observe mode until its own evaluation is stored.",
            *(
                ["The interval of the shift holds 0: these studies do not show that the thresholds need to move."]
                if low <= 0 <= high
                else []
            ),
        ],
    }


def write(proposal: dict[str, Any], scores: Sequence[SiteScore], out: Path) -> list[Path]:
    """policy_draft.json and the histogram into `out`. Raises EvaluationError when it cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        files = [out / "policy_draft.json", out / "calibration.png"]
        files[0].write_text(json.dumps(proposal, indent=2, ensure_ascii=False) + "\n")
        _histogram(proposal, _logit([s.probability for s in scores]), files[1])
    except OSError as error:
        raise EvaluationError(f"--out {out}: {error.strerror}; name a folder that this user may write") from error
    return files


def _logit(probabilities: Sequence[float] | Array) -> Array:
    return np.asarray(logit(np.clip(np.asarray(probabilities, np.float64), 1e-9, 1 - 1e-9)), np.float64)


def _two_sided(logits: Array, point: OperatingPoint) -> None:
    if not np.isfinite(logits).all() or float(np.ptp(logits)) < 1e-6:
        raise EvaluationError("all studies have the same score: one-sided, nothing can be read from it")
    flagged, notified = (
        float(np.mean(logits >= logit(p))) for p in (point.raise_probability, point.notify_probability)
    )
    if flagged > 1 - QUANTILE or notified > MOST_NOTIFIED:
        raise EvaluationError(
            f"one-sided: {flagged:.0%} of the studies would be flagged and {notified:.0%} notified as it is; a shift needs "
            "consecutive studies, more than a quarter of them without hemorrhage"
        )


def moved(point: OperatingPoint, shift: float) -> OperatingPoint:
    """Thresholds moved by `shift` logits."""

    def to(p: float) -> float:
        return float(np.clip(expit(logit(p) + shift), 1e-6, 1 - 1e-6))

    unsure = None if point.unsure_from is None else to(point.unsure_from)
    return OperatingPoint(
        point.finding, to(point.raise_probability), to(point.notify_probability), point.version, unsure
    )


def body_of(point: OperatingPoint) -> dict[str, float]:
    """As store/policy.py keeps a point."""
    body = {"raise": point.raise_probability, "notify": point.notify_probability}
    return body if point.unsure_from is None else {**body, "unsure": point.unsure_from}


def _answers(logits: Array, point: OperatingPoint) -> list[str]:
    limits = [(logit(point.notify_probability), "notified"), (logit(point.raise_probability), "raised")]
    if point.unsure_from is not None:
        limits.append((logit(point.unsure_from), "not sure"))
    return [next((word for least, word in limits if x >= least), "silent") for x in logits]


def _rates(answers: Sequence[str]) -> dict[str, float]:
    """Shares of all studies; `raised` counts the notified too, since they are raised as well."""
    n = len(answers)
    count = Counter(answers)
    return {
        "notified": count["notified"] / n,
        "raised": (count["notified"] + count["raised"]) / n,
        "not sure": count["not sure"] / n,
        "silent": count["silent"] / n,
    }


def _histogram(proposal: dict[str, Any], logits: Array, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.hist(logits, bins=np.linspace(min(-8.0, logits.min()), max(6.0, logits.max()), 41), color="#8a9bb0")
    for name, style in (("in_force", ":"), ("policy", "-")):
        for key, colour in (("raise", "#b3261e"), ("notify", "#5b2a86"), ("unsure", "#9a6a00")):
            value = proposal[name]["ich"].get(key)
            if value is not None:
                words = f"{key}, {'as it is' if name == 'in_force' else 'draft'}: {value:.3f}"
                axes.axvline(float(logit(value)), color=colour, linestyle=style, label=words)
    axes.axvline(proposal["reference_quantile_logit"], color="#1b6e3c", linestyle=":", label="25 % quantile, reference")
    axes.axvline(proposal["site_quantile_logit"], color="#1b6e3c", label="25 % quantile, this site")
    axes.set_xlabel("study score (logit of the probability)")
    axes.set_ylabel("studies")
    before, after = proposal["rates"]["before"], proposal["rates"]["after"]
    axes.set_title(
        f"Draft, not applied: {proposal['patients']} patients, raised {before['raised']:.0%} → {after['raised']:.0%}, "
        f"shift {proposal['shift_logit']:+.2f}",
        fontsize=10,
    )
    axes.legend(fontsize=7, loc="upper right")
    figure.savefig(path, dpi=120)
