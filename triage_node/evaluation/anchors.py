"""Published figures that stand beside ours. Copied from the papers named; none of them was measured here."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from triage_node.evaluation.metrics import ppv_at

ONLY_A_SITE = (
    "These are other people's figures on other people's patients. Nothing measured on the data of this report settles how "
    "the model does at a hospital: only that hospital's own consecutive studies can."
)


@dataclass(frozen=True, slots=True)
class Anchor:
    """One published result. `measure`: auc, sensitivity, specificity or ppv; shares from 0 to 1. `about`: whole or small."""

    measure: str
    value: float
    data: str
    source: str
    about: str = "whole"
    prevalence: float | None = None
    """Of a PPV: ours is computed for the same share of positives, since an enriched set flatters it."""


ANCHORS = (
    Anchor("auc", 0.9493, "over 1,400 studies, enriched", "Bar 2019 (arXiv 1907.00148), BloodNet"),
    Anchor("auc", 0.9566, "over 1,400 studies, unselected", "Bar 2019 (arXiv 1907.00148), BloodNet"),
    Anchor("auc", 0.991, "200 studies, the best published", "Kuo 2019 (PNAS), PatchFCN"),
    Anchor("auc", 0.949, "CQ500, 491 studies of other hospitals", "Wang 2021 (PMC8377493), RSNA winner"),
    Anchor("auc", 0.964, "ct-ich, 75 studies of another hospital", "Wang 2021 (PMC8377493), RSNA winner"),
    Anchor("auc", 0.842, "1,372 studies of a foreign site, trained on public data only", "Abrigo 2023"),
    Anchor("sensitivity", 0.9615, "220 studies, enriched", "Aidoc K221240 (FDA summary)"),
    Anchor("specificity", 0.9483, "220 studies, enriched", "Aidoc K221240 (FDA summary)"),
    Anchor("sensitivity", 0.92, "527 consecutive studies", "VeriScout 2023"),
    Anchor("specificity", 0.96, "527 consecutive studies", "VeriScout 2023"),
    Anchor("sensitivity", 0.756, "61,704 consecutive studies of teleradiology, the floor", "Del Gaizo 2024"),
    Anchor("specificity", 0.921, "61,704 consecutive studies of teleradiology, the floor", "Del Gaizo 2024"),
    Anchor("ppv", 0.211, "61,704 consecutive studies, 2.7 % positive", "Del Gaizo 2024", prevalence=0.027),
    Anchor("ppv", 0.186, "1,372 studies, 6.1 % positive", "Abrigo 2023", prevalence=0.061),
    Anchor("ppv", 0.818, "1,446 studies of a trauma centre, 14.7 % positive", "Zia 2022", prevalence=0.147),
    Anchor("sensitivity", 0.718, "bleeds under 5 mL of 255 positive studies", "Avicenna CINA (McLouth 2021)", "small"),
)

PREVALENCES: tuple[tuple[float, str], ...] = (
    (0.027, "teleradiology (Del Gaizo 2024)"),
    (0.061, "emergency department (Abrigo 2023)"),
    (0.147, "trauma centre (Zia 2022)"),
    (0.21, "mean in practice, 83 papers (PMC9613832)"),
)
"""Shares of positive studies at which a PPV is given, and where they were seen."""


def beside(report: dict[str, dict]) -> list[dict]:
    """Each anchor with what this report has for the same measure: of studies, or of slices where there are no studies."""
    small = next((s for s in report["strata"]["study"]["size"] if s["name"] == "under 5 mL"), None)
    unit = "study" if report["study"]["n"] else "slice"
    found = []
    for a in ANCHORS:
        if a.about == "small":
            ours, said = (small["sensitivity"], "study, under 5 mL") if small else (None, "")
        else:
            ours, said = _ours(report[unit], a), unit
        found.append({**asdict(a), "ours": ours, "ours_is": said if ours is not None else ""})
    return found


def _ours(figures: dict, anchor: Anchor) -> float | None:
    if anchor.prevalence is None:
        return figures[anchor.measure]
    return ppv_at(figures["sensitivity"], figures["specificity"], anchor.prevalence)
