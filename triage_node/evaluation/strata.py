"""The same figures for parts of the set: subtype, size, slice distance, scanner, kernel, age and sex apart (ML.md 10.2, 10.3).

TRIPOD+AI 14 and 23 ask for figures in groups. A group of few patients is shown and said to be small: its interval is wide, and
a difference between two such groups means nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from triage_node.domain.finding import FINDINGS, SUBTYPES
from triage_node.evaluation import metrics
from triage_node.evaluation.bootstrap import auc_interval
from triage_node.evaluation.scored import Scored, answers

Stratum = dict[str, Any]

SIZES_ML: tuple[tuple[str, float, float], ...] = (
    ("under 1 mL", 0.0, 1.0),
    ("1 to 5 mL", 1.0, 5.0),
    ("under 5 mL", 0.0, 5.0),
    ("over 5 mL", 5.0, float("inf")),
)
AREAS_MM2: tuple[tuple[str, float, float], ...] = (
    ("under 60 mm²", 0.0, 60.0),
    ("60 to 200 mm²", 60.0, 200.0),
    ("over 200 mm²", 200.0, float("inf")),
)
STEPS_MM: tuple[tuple[str, float, float], ...] = (
    ("under 1.5 mm", 0.0, 1.5),
    ("1.5 to 3 mm", 1.5, 3.0),
    ("3 to 6 mm", 3.0, 6.0),
    ("6 mm and more", 6.0, float("inf")),
)
AGES_YEARS: tuple[tuple[str, float, float], ...] = (
    ("under 18 years", 0.0, 18.0),
    ("18 to 44 years", 18.0, 45.0),
    ("45 to 64 years", 45.0, 65.0),
    ("65 to 79 years", 65.0, 80.0),
    ("80 years and more", 80.0, float("inf")),
)
SEXES = {"F": "female", "M": "male", "O": "other"}
MOST_NAMED = 30
"""Scanners and kernels with a row of their own; the rarer ones share the last."""
SMALL = 20
"""Patients of each class. With 20 of 20 right the 95 % interval of a share still begins at 0.84 (Wilson)."""


def strata(scored: Sequence[Scored], threshold: float | None) -> dict[str, list[Stratum]]:
    """Parts of one unit (slices or studies). Positives of a part stand against ALL negatives, unless the part splits both."""
    negatives = [s for s in scored if not s.truth]
    positives = [s for s in scored if s.truth]

    def against_all(name: str, keep: Callable[[Scored], bool]) -> Stratum:
        return _figures(name, [s for s in positives if keep(s)] + negatives, threshold)

    def ranges(
        table: tuple[tuple[str, float, float], ...], of: Callable[[Scored], float | None], among: Sequence[Scored]
    ) -> list[tuple[str, list[Scored]]]:
        found = []
        for name, low, high in table:
            part = [s for s in among if (v := of(s)) is not None and low <= v < high]
            if part:
                found.append((name, part))
        return found

    sizes = [_figures(n, p + negatives, threshold) for n, p in ranges(SIZES_ML, lambda s: s.volume_ml, positives)]
    areas = [_figures(n, p + negatives, threshold) for n, p in ranges(AREAS_MM2, lambda s: s.area_mm2, positives)]
    unknown = [s for s in positives if s.volume_ml is None]
    if sizes and unknown:
        sizes.append(_figures("size not known", unknown + negatives, threshold))
    kinds = [k for k in SUBTYPES if any(k in s.subtypes for s in positives)]
    return {
        "subtype": [_subtype(k, against_all(FINDINGS[k].short, lambda s, k=k: k in s.subtypes), scored) for k in kinds],
        "size": sizes,
        "area": areas,
        "slice distance": [_figures(n, p, threshold) for n, p in ranges(STEPS_MM, lambda s: s.step_mm, scored)],
        "scanner": [_figures(n, p, threshold) for n, p in _named(scored, lambda s: s.scanner)],
        "kernel": [_figures(n, p, threshold) for n, p in _named(scored, _kernel)],
        "age": _with_unknown(ranges(AGES_YEARS, lambda s: s.age_years, scored), "age", scored, threshold),
        "sex": _with_unknown(
            [(word, p) for code, word in SEXES.items() if (p := [s for s in scored if s.sex == code])],
            "sex",
            scored,
            threshold,
        ),
        "origin": [_figures(o, [s for s in scored if s.origin == o], threshold) for o in _several(scored)],
    }


def _kernel(s: Scored) -> str:
    """A kernel's name means something on one maker's scanners only."""
    return f"{s.kernel}, {s.scanner or 'scanner not known'}" if s.kernel else ""


def _named(scored: Sequence[Scored], name: Callable[[Scored], str]) -> list[tuple[str, list[Scored]]]:
    """One part for each name, the most frequent ones in the order of the alphabet, then all others together."""
    count = Counter(n for s in scored if (n := name(s)))
    own = {n for n, _ in count.most_common(MOST_NAMED)}
    found = [(n, [s for s in scored if name(s) == n]) for n in sorted(own)]
    if others := [s for s in scored if name(s) and name(s) not in own]:
        found.append((f"{len(count) - len(own)} others", others))
    return found


def _with_unknown(
    parts: list[tuple[str, list[Scored]]], what: str, scored: Sequence[Scored], threshold: float | None
) -> list[Stratum]:
    """The parts, and what belongs to none of them; nothing at all where nothing is known."""
    known = {id(s) for _, part in parts for s in part}
    unknown = [s for s in scored if id(s) not in known]
    if parts and unknown:
        parts = [*parts, (f"{what} not known", unknown)]
    return [_figures(name, part, threshold) for name, part in parts]


def _several(scored: Sequence[Scored]) -> list[str]:
    origins = sorted({s.origin for s in scored if s.origin})
    return origins if len(origins) > 1 else []


def _figures(name: str, part: Sequence[Scored], threshold: float | None) -> Stratum:
    return {"name": name, "small": _small(part), **metrics.discrimination(answers(part), threshold)}


def _small(part: Sequence[Scored]) -> str:
    """Words when a class has fewer than SMALL patients; empty otherwise."""
    bleeding, without = ({s.patient for s in part if s.truth is truth} for truth in (True, False))
    if min(len(bleeding), len(without)) >= SMALL:
        return ""
    return f"few patients: {len(bleeding)} with, {len(without)} without hemorrhage"


def _subtype(kind: str, stratum: Stratum, scored: Sequence[Scored]) -> Stratum:
    """Beside "any hemorrhage" of those with this subtype: the AUC of the subtype's own output against all others."""
    own = [
        Scored(s.key, s.patient, kind in s.subtypes, s.subtype_probabilities[kind])
        for s in scored
        if kind in s.subtype_probabilities and (s.subtypes or not s.truth)
    ]
    found = answers(own)
    interval = auc_interval(found)
    return {**stratum, "own_auc": metrics.auc(found), "own_auc_ci": list(interval) if interval else None}
