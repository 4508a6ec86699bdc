"""Figures of a set of answers. What is not defined is None with a reason beside it, never 0 and never left out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score, roc_curve

from triage_node.domain.intervals import proportion_interval
from triage_node.evaluation.bootstrap import auc_interval, interval
from triage_node.evaluation.scored import Answers

ECE_BINS = 10
LEAST_FOR_CALIBRATION = 20
"""Of each class; a slope from fewer is noise."""

ALLOWED_ML, ALLOWED_SHARE = 2.0, 0.10
"""Error of a volume that may pass: whichever is more."""

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Figures = dict[str, Any]


def auc(answers: Answers) -> float | None:
    return float(roc_auc_score(answers.truth, answers.probability)) if answers.both_classes else None


def one_class(answers: Answers) -> str:
    """Why an AUC is not defined, in words; empty when it is."""
    if answers.n == 0:
        return "nothing with a label was scored"
    if answers.both_classes:
        return ""
    return f"one class only: all {answers.n} labels say {'hemorrhage' if answers.positives else 'no hemorrhage'}"


def discrimination(answers: Answers, threshold: float | None) -> Figures:
    """n, positives, AUC with its interval by patient, and what the threshold does: sensitivity, specificity, PPV."""
    reason = one_class(answers)
    found: Figures = {
        "n": answers.n,
        "positives": answers.positives,
        "patients": answers.n_patients,
        "auc": auc(answers),
        "auc_ci": _listed(auc_interval(answers)),
        "threshold": threshold,
        **at_threshold(answers, threshold),
    }
    reasons = found["reasons"]
    if reason:
        reasons["auc"] = reason
    if found["auc_ci"] is None:
        reasons["auc_ci"] = reason or f"only {answers.n_patients} patients with labels"
    return found


def at_threshold(answers: Answers, threshold: float | None) -> Figures:
    """Sensitivity, specificity, PPV and NPV as found, each with an interval, and false alarms per 100 without hemorrhage."""
    names = ("sensitivity", "specificity", "ppv", "npv")
    if threshold is None:
        nothing: Figures = {**{n: None for n in names}, **{f"{n}_ci": None for n in names}}
        return {**nothing, "false_alarms_per_100": None, "reasons": {n: "no operating point is stored" for n in names}}
    flagged = answers.probability >= threshold
    right: dict[str, tuple[Bools, Bools, str]] = {
        "sensitivity": (answers.truth, flagged, "no hemorrhage among the labels"),
        "specificity": (~answers.truth, ~flagged, "nothing without hemorrhage among the labels"),
        "ppv": (flagged, answers.truth, "nothing was flagged"),
        "npv": (~flagged, ~answers.truth, "everything was flagged"),
    }
    found: Figures = {}
    reasons: dict[str, str] = {}
    for name, (among, hit, missing) in right.items():
        n = int(among.sum())
        found[name] = float(hit[among].mean()) if n else None
        found[f"{name}_ci"] = _listed(proportion_interval(hit[among], answers.patients[among]))
        if not n:
            reasons[name] = missing if answers.n else "nothing with a label was scored"
    found["false_alarms_per_100"] = None if found["specificity"] is None else 100 * (1 - found["specificity"])
    found["reasons"] = reasons
    return found


def roc(answers: Answers) -> tuple[Array, Array, Array] | None:
    """False positive rate, true positive rate, threshold; None with one class."""
    if not answers.both_classes:
        return None
    fpr, tpr, at = roc_curve(answers.truth, answers.probability, drop_intermediate=True)
    return fpr, tpr, at


def calibration(answers: Answers) -> Figures:
    """Reliability: slope and intercept of the labels on the logit, Brier score, ECE over ten equally wide bins, the bins.

    A slope under 1 means answers that are too sure of themselves. All of it holds for this set's share of positives only.
    """
    reason = one_class(answers)
    short = min(answers.positives, answers.n - answers.positives) < LEAST_FOR_CALIBRATION
    if reason or short:
        why = reason or f"fewer than {LEAST_FOR_CALIBRATION} of a class: a slope would be noise"
        nothing = {k: None for k in ("slope", "slope_ci", "intercept", "brier", "brier_of_the_base_rate", "ece")}
        return {**nothing, "slope_reason": "", "bins": [], "reason": why}
    x, y = logit(answers.probability)[:, None], answers.truth
    apart = auc(answers) in (0.0, 1.0)
    slope, intercept = (None, None) if apart else _logistic(x, y)

    def resampled(rows: NDArray[np.intp]) -> float | None:
        return _logistic(x[rows], y[rows])[0] if 0 < y[rows].sum() < len(rows) else None

    bins = reliability(answers)
    return {
        "slope": slope,
        "slope_ci": None if apart else _listed(interval(resampled, answers.patients, resamples=200)),
        "slope_reason": "no answer lies between the classes: any steep slope fits" if apart else "",
        "intercept": intercept,
        "brier": float(brier_score_loss(y, answers.probability)),
        "brier_of_the_base_rate": float(y.mean() * (1 - y.mean())),
        "ece": float(sum(b["n"] * abs(b["observed"] - b["predicted"]) for b in bins) / answers.n),
        "bins": bins,
        "reason": "",
    }


def reliability(answers: Answers) -> list[Figures]:
    """Ten equally wide bins of probability: how many, mean prediction, observed share with its interval."""
    which = np.clip((answers.probability * ECE_BINS).astype(int), 0, ECE_BINS - 1)
    found = []
    for b in range(ECE_BINS):
        here = which == b
        if here.any():
            low_high = proportion_interval(answers.truth[here], answers.patients[here])
            found.append(
                {
                    "n": int(here.sum()),
                    "predicted": float(answers.probability[here].mean()),
                    "observed": float(answers.truth[here].mean()),
                    "observed_ci": _listed(low_high),
                }
            )
    return found


def ppv_at(sensitivity: float | None, specificity: float | None, prevalence: float) -> float | None:
    """Bayes' rule; None when nothing would be flagged."""
    if sensitivity is None or specificity is None:
        return None
    true, false = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    return true / (true + false) if true + false else None


def threshold_table(answers: Answers, stored: dict[str, float], prevalences: tuple[float, ...]) -> list[Figures]:
    """The stored thresholds first, then those that would reach round figures on this very set (for reading, not for use)."""
    rows = [(name, value) for name, value in stored.items()]
    curve = roc(answers)
    if curve is not None:
        fpr, tpr, at = curve
        for wanted in (0.90, 0.95, 0.98):
            rows.append((f"sensitivity {wanted:.2f} here", float(at[np.flatnonzero(tpr >= wanted)[0]])))
        for wanted in (0.90, 0.95, 0.98):
            rows.append((f"specificity {wanted:.2f} here", float(at[np.flatnonzero(1 - fpr >= wanted)[-1]])))
    found = []
    for name, value in rows:
        at_value = at_threshold(answers, value)
        ppvs = {f"{p:.1%}": ppv_at(at_value["sensitivity"], at_value["specificity"], p) for p in prevalences}
        kept = {k: at_value[k] for k in ("sensitivity", "specificity", "ppv", "false_alarms_per_100")}
        found.append({"name": name, "threshold": value if np.isfinite(value) else None, **kept, "ppv_at": ppvs})
    return found


def not_sure(answers: Answers, low: float | None, high: float | None, threshold: float | None) -> Figures:
    """The third answer between `low` and `high`: its rate and error, and the figures both ways and without it.

    An unsure answer is never a quiet negative: sensitivity and specificity stand with all unsure ones counted as flagged,
    with all counted as not flagged, and over the sure ones alone.
    """
    if low is None or high is None or threshold is None:
        return {"defined": False, "reason": 'the bundle stores no answer "not sure"'}
    unsure = (answers.probability >= low) & (answers.probability < high)
    n = int(unsure.sum())
    flagged = answers.probability >= threshold
    ways = {
        "counted_as_flagged": (flagged | unsure, np.ones(answers.n, bool)),
        "counted_as_not_flagged": (flagged & ~unsure, np.ones(answers.n, bool)),
        "left_out": (flagged, ~unsure),
    }
    found: Figures = {"defined": True, "from": low, "to": high, "n": n, "rate": n / answers.n if answers.n else None}
    found["positives"] = int((unsure & answers.truth).sum())
    found["error"] = float((flagged != answers.truth)[unsure].mean()) if n else None
    found["error_of_the_sure"] = float((flagged != answers.truth)[~unsure].mean()) if n < answers.n else None
    for name, (says, counted) in ways.items():
        positive, negative = answers.truth & counted, ~answers.truth & counted
        found[name] = {
            "sensitivity": float(says[positive].mean()) if positive.any() else None,
            "specificity": float((~says)[negative].mean()) if negative.any() else None,
        }
    return found


def bland_altman(reference: Array, measured: Array) -> Figures:
    """Bias and 95 % limits of agreement (bias +- 1.96 SD) of measured minus reference. Units: mL."""
    if len(reference) < 3:
        return {"n": len(reference), "bias": None, "low": None, "high": None, "median_error": None}
    gap = measured - reference
    bias, half = float(gap.mean()), 1.96 * float(gap.std(ddof=1))
    error = float(np.median(np.abs(gap)))
    return {"n": len(gap), "bias": bias, "low": bias - half, "high": bias + half, "median_error": error}


def volume_error(reference: Array, measured: Array, patients: NDArray[np.intp]) -> Figures:
    """Median error in shares of what is allowed, 2 mL or 10 % of the reference, whichever is more; its 95 % interval by patient."""
    if not len(reference):
        return {"n": 0, "median": None, "median_ci": None}
    share = np.abs(measured - reference) / np.maximum(ALLOWED_ML, ALLOWED_SHARE * reference)
    ends = interval(lambda rows: float(np.median(share[rows])), patients)
    return {"n": len(share), "median": float(np.median(share)), "median_ci": _listed(ends)}


def logit(probability: Array) -> Array:
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    found: Array = np.log(p / (1 - p))
    return found


def _logistic(x: Array, y: Bools) -> tuple[float, float]:
    # so weak a penalty that it only stops a perfect separation from running away
    model = LogisticRegression(C=1e4, max_iter=200).fit(x, y)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _listed(pair: tuple[float, float] | None) -> list[float] | None:
    return None if pair is None else list(pair)
