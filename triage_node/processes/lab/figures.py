"""Figures of two policies on the same studies, each with what it rests on.

Sensitivity, specificity and the curves come from truth that covers unflagged studies only: feedback on flagged ones would make
every threshold look perfect. PPV comes from the flagged studies whose truth is known. Intervals are by patient (PAPERS.md 9.3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triage_node.domain.finding import Answer
from triage_node.domain.intervals import proportion_interval
from triage_node.domain.replay import Curve, Rate, Share, Side
from triage_node.processes.lab.studies import Case, Judged

NEEDS_COVERING = "needs truth that covers unflagged studies: import it below"
_DRAWS = 4000
_SEED = 10
_BINS = 20

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Labels:
    """Shape: (study,) each. `known`: the truth is; `covers`: and from a source that covers unflagged studies."""

    probability: NDArray[np.float64]
    positive: Bools
    known: Bools
    covers: Bools
    patient: NDArray[np.intp]

    @property
    def n_covering(self) -> int:
        return int(self.covers.sum())


def labels_of(cases: Sequence[Case]) -> Labels:
    numbers: dict[tuple[str, str], int] = {}
    return Labels(
        np.array([c.study.probability for c in cases], np.float64),
        np.array([c.positive is True for c in cases], bool),
        np.array([c.positive is not None for c in cases], bool),
        np.array([c.positive is not None and c.covers for c in cases], bool),
        np.array([numbers.setdefault(c.patient, len(numbers)) for c in cases], np.intp),
    )


def prevalence_of(labels: Labels, stated: float | None) -> Share:
    """Stated by the administrator, or the share of bleeds where truth covers unflagged studies."""
    if stated is not None:
        return Share(stated, stated, stated, why="as stated")
    return _share(labels.positive, labels.covers, labels.patient, NEEDS_COVERING)


def side(labels: Labels, judged: Sequence[Judged], days: float, prevalence: Share) -> Side:
    flagged = np.array([j.answer.is_flag for j in judged], bool)
    notified = np.array([j.answer is Answer.NOTIFIED for j in judged], bool)
    positives, negatives = labels.covers & labels.positive, labels.covers & ~labels.positive
    sensitivity = _share(flagged, positives, labels.patient, _missing(labels, "no bleed among them"))
    specificity = _share(~flagged, negatives, labels.patient, _missing(labels, "nothing without a bleed among them"))
    ppv = _ppv(labels, flagged)
    return Side(
        answers={answer: n for answer, n in Counter(j.answer for j in judged).items()},
        flags_per_day=float(flagged.sum()) / days,
        notices_per_day=float(notified.sum()) / days,
        sensitivity=sensitivity,
        specificity=specificity,
        ppv=ppv,
        ppv_local=_bayes(sensitivity, specificity, prevalence),
        false_alarms_per_day=_false_per_day(flagged, ppv, labels, days),
        false_notices_per_day=_false_per_day(notified, _ppv(labels, notified), labels, days),
    )


def roc(labels: Labels, in_force: Side, candidate: Side) -> Curve | None:
    """False positive rate against sensitivity, over the probability of hemorrhage of any kind. None without both classes."""
    truth, order = _ranked(labels)
    if truth is None or not 0 < truth.sum() < len(truth):
        return None
    tpr = np.concatenate([[0.0], np.cumsum(truth)[order] / truth.sum()])
    fpr = np.concatenate([[0.0], np.cumsum(~truth)[order] / (~truth).sum()])
    area = float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2))
    at = [(1 - (s.specificity.value or 0.0), s.sensitivity.value or 0.0) for s in (in_force, candidate)]
    return Curve(tuple(zip(fpr.tolist(), tpr.tolist(), strict=True)), at[0], at[1], area)


def precision_recall(labels: Labels, judged: tuple[Sequence[Judged], Sequence[Judged]]) -> Curve | None:
    """Sensitivity against PPV as found among the studies that truth covers; the area is the average precision."""
    truth, order = _ranked(labels)
    if truth is None or not 0 < truth.sum() < len(truth):
        return None
    hits, flagged = np.cumsum(truth)[order], (order + 1).astype(np.float64)
    recall, precision = hits / truth.sum(), hits / flagged
    area = float(np.sum(np.diff(np.concatenate([[0.0], recall])) * precision))
    points = ((0.0, float(precision[0])), *zip(recall.tolist(), precision.tolist(), strict=True))
    at = [_on_covering(labels, side) for side in judged]
    return Curve(points, at[0], at[1], area)


def bars(labels: Labels) -> tuple[tuple[float, int, int, int], ...]:
    which = np.clip((labels.probability * _BINS).astype(int), 0, _BINS - 1)
    groups = (labels.known & labels.positive, labels.known & ~labels.positive, ~labels.known)
    counts = [np.bincount(which[group], minlength=_BINS) for group in groups]
    return tuple((b / _BINS, *(int(c[b]) for c in counts)) for b in range(_BINS))  # type: ignore[misc]


def _ranked(labels: Labels) -> tuple[Bools | None, NDArray[np.intp]]:
    """Truth by falling probability, and the last row of each distinct probability."""
    if not labels.n_covering:
        return None, np.empty(0, np.intp)
    p = labels.probability[labels.covers]
    falling = np.argsort(-p, kind="stable")
    last = np.flatnonzero(np.append(np.diff(p[falling]) != 0, True))
    return labels.positive[labels.covers][falling], last


def _on_covering(labels: Labels, judged: Sequence[Judged]) -> tuple[float, float]:
    flagged = np.array([j.answer.is_flag for j in judged], bool) & labels.covers
    hits, positives = int((flagged & labels.positive).sum()), int((labels.covers & labels.positive).sum())
    return hits / positives, hits / flagged.sum() if flagged.any() else 1.0


def _missing(labels: Labels, words: str) -> str:
    return words if labels.n_covering else NEEDS_COVERING


def _share(hit: Bools, among: Bools, patient: NDArray[np.intp], missing: str) -> Share:
    found = proportion_interval(hit[among], patient[among])
    if found is None:
        return Share(None, why=missing)
    n, hits = int(among.sum()), int(hit[among].sum())
    return Share(hits / n, *found, hits=hits, n=n)


def _ppv(labels: Labels, flagged: Bools) -> Share:
    if not flagged.any():
        return Share(None, why="nothing is flagged")
    return _share(labels.positive, flagged & labels.known, labels.patient, "no flagged study has a known truth")


def _false_per_day(flagged: Bools, ppv: Share, labels: Labels, days: float) -> Rate:
    """Flags a day times the share of them that is false; where some truths are not known, by the share of the known ones."""
    per_day = float(flagged.sum()) / days
    if not flagged.any():
        return Rate(0.0, 0.0, 0.0)
    if ppv.value is None:
        return Rate(None, 0.0, per_day, "no flagged study has a known truth: every flag could be false or none")
    unknown = int((flagged & ~labels.known).sum())
    why = f"{unknown} of {int(flagged.sum())} flags have no known truth and count as the others do" if unknown else ""
    return Rate(per_day * (1 - ppv.value), per_day * (1 - ppv.high), per_day * (1 - ppv.low), why)


def _bayes(sensitivity: Share, specificity: Share, prevalence: Share) -> Share:
    """PPV by Bayes' rule. Its interval: draws of the shares from what was counted (Jeffreys), a fixed seed."""
    values = (sensitivity.value, specificity.value, prevalence.value)
    if any(v is None for v in values):
        missing = next(s.why for s in (sensitivity, specificity, prevalence) if s.value is None)
        return Share(None, why=missing)
    rng = np.random.default_rng(_SEED)

    def drawn(share: Share) -> NDArray[np.float64]:
        if not share.n:
            return np.full(_DRAWS, share.value)
        return rng.beta(share.hits + 0.5, share.n - share.hits + 0.5, _DRAWS)

    def rule(se: NDArray[np.float64], sp: NDArray[np.float64], pi: NDArray[np.float64]) -> NDArray[np.float64]:
        true, false = se * pi, (1 - sp) * (1 - pi)
        return np.divide(true, true + false, out=np.full_like(true, np.nan), where=true + false > 0)

    value = float(rule(*(np.array([v], np.float64) for v in values))[0])
    if np.isnan(value):
        return Share(None, why="nothing would be flagged")
    low, high = np.nanquantile(rule(drawn(sensitivity), drawn(specificity), drawn(prevalence)), (0.025, 0.975))
    return Share(value, min(float(low), value), max(float(high), value), n=sensitivity.n + specificity.n)
