"""The same figures for parts of the set: each subtype, size, slice distance and scanner apart (ML.md 10.2, 10.3)."""

from __future__ import annotations

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
    ("under 60 mm2", 0.0, 60.0),
    ("60 to 200 mm2", 60.0, 200.0),
    ("over 200 mm2", 200.0, float("inf")),
)
STEPS_MM: tuple[tuple[str, float, float], ...] = (
    ("under 1.5 mm", 0.0, 1.5),
    ("1.5 to 3 mm", 1.5, 3.0),
    ("3 to 6 mm", 3.0, 6.0),
    ("6 mm and more", 6.0, float("inf")),
)
MOST_SCANNERS = 30


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
    scanners = sorted({s.scanner for s in scored if s.scanner})
    kinds = [k for k in SUBTYPES if any(k in s.subtypes for s in positives)]
    return {
        "subtype": [_subtype(k, against_all(FINDINGS[k].short, lambda s, k=k: k in s.subtypes), scored) for k in kinds],
        "size": sizes,
        "area": areas,
        "slice distance": [_figures(n, p, threshold) for n, p in ranges(STEPS_MM, lambda s: s.step_mm, scored)],
        "scanner": [
            _figures(name, [s for s in scored if s.scanner == name], threshold) for name in scanners[:MOST_SCANNERS]
        ],
        "origin": [_figures(o, [s for s in scored if s.origin == o], threshold) for o in _several(scored)],
    }


def _several(scored: Sequence[Scored]) -> list[str]:
    origins = sorted({s.origin for s in scored if s.origin})
    return origins if len(origins) > 1 else []


def _figures(name: str, part: Sequence[Scored], threshold: float | None) -> Stratum:
    return {"name": name, **metrics.discrimination(answers(part), threshold)}


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
