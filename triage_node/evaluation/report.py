"""From scored answers to one dictionary, and from that to report.json, report.md and report.html: the same figures thrice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from triage_node.domain.finding import BundleIdentity, EvidenceLevel
from triage_node.domain.scan_source import ScanSource
from triage_node.evaluation import anchors, checklists, evidence, metrics, plots
from triage_node.evaluation.bootstrap import RESAMPLES
from triage_node.evaluation.scored import Answers, Scored, answers
from triage_node.evaluation.strata import SMALL, strata
from triage_node.evaluation.worst import Tile, Worst, montage

FORMAT = 1
UNITS = ("study", "slice")
UNIT_WORDS = {"study": "Studies", "slice": "Slices"}
MOST_LISTED = 200
"""Skipped files named in the Markdown and the page; report.json names all."""

Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Points:
    """Stored thresholds of one unit; None where the bundle has none. `words`: where they come from."""

    threshold: float | None
    unsure_from: float | None = None
    unsure_to: float | None = None
    notify: float | None = None
    words: str = ""

    @property
    def named(self) -> dict[str, float]:
        found = {"raise": self.threshold, "notify": self.notify, "not sure from": self.unsure_from}
        return {k: v for k, v in found.items() if v is not None}


@dataclass
class Material:
    """All that a run collects. `skipped`: (file or case, reason); `unread`: labels of studies that could not be read."""

    slices: list[Scored] = field(default_factory=list)
    studies: list[Scored] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    declined: list[tuple[str, str]] = field(default_factory=list)
    unread: list[int] = field(default_factory=list)
    worst: dict[str, Worst] = field(default_factory=lambda: {u: Worst() for u in UNITS})
    cases: int = 0
    simulated_cases: int = 0
    picture_cases: int = 0
    without_label: int = 0
    no_studies_reason: str = ""

    def of(self, unit: str) -> list[Scored]:
        return self.studies if unit == "study" else self.slices


def build(
    identity: BundleIdentity, bundle: dict[str, Any], points: dict[str, Points], material: Material, data: dict[str, Any],
    made: dict[str, Any], stress: dict[str, Any],
) -> Report:  # fmt: skip
    """Everything that the three files say. `bundle`, `data` and `made` hold what the caller knows of each."""
    columns = {u: answers(material.of(u)) for u in UNITS}
    report: Report = {
        "format": FORMAT,
        "not_for": "Not for diagnostic use.",
        "made": {**made, "resamples": RESAMPLES},
        "bundle": bundle,
        "data": _data(material, data),
        "limits": _limits(material),
        "anchor_sentence": anchors.ONLY_A_SITE,
    }
    for unit in UNITS:
        report[unit] = metrics.discrimination(columns[unit], points[unit].threshold)
        report[unit]["operating_point"] = points[unit].words
    if material.no_studies_reason and not report["study"]["n"]:
        report["study"]["reasons"] = {k: material.no_studies_reason for k in report["study"]["reasons"]}
    for unit in UNITS:
        by_reason: dict[str, list[str]] = {}
        for what, why in report[unit]["reasons"].items():
            by_reason.setdefault(why, []).append(what)
        report[unit]["undefined"] = [f"{', '.join(names)}: {why}" for why, names in by_reason.items()]
    report["declined"] = [{"case": c, "reason": r} for c, r in material.declined]
    report["as_used"] = _as_used(material.studies, material.unread, points["study"].threshold)
    report["small_below"] = SMALL
    report["strata"] = {u: strata(material.of(u), points[u].threshold) for u in UNITS}
    report["overlap"] = _overlap(material.studies)
    report["calibration"] = {u: metrics.calibration(columns[u]) for u in UNITS}
    rates = tuple(p for p, _ in anchors.PREVALENCES)
    report["thresholds"] = {
        u: metrics.threshold_table(columns[u], points[u].named, rates) if columns[u].n else [] for u in UNITS
    }
    report["prevalences"] = [{"share": p, "seen_at": where} for p, where in anchors.PREVALENCES]
    report["not_sure"] = {
        u: metrics.not_sure(columns[u], points[u].unsure_from, points[u].unsure_to, points[u].threshold) for u in UNITS
    }
    report["stress"] = stress
    report["worst"] = {u: _worst(material.worst[u], points[u].threshold) for u in UNITS}
    report["skipped"] = [{"file": f, "reason": r} for f, r in material.skipped]
    report["anchors"] = anchors.beside(report)
    report["evidence"] = evidence.draft(
        identity,
        bundle["preprocessing_version"],
        bundle["operating_points"].get("ich", {}),
        report["data"],
        report["study"],
        report["calibration"]["study"],
    )
    report["evidence_of_volume"] = (
        evidence.volume_draft(identity, bundle["preprocessing_version"], report["data"], report["overlap"])
        if report["overlap"]["volume_error"]["n"]
        else None
    )
    report["checklists"] = {"CLAIM": checklists.claim(report), "TRIPOD+AI": checklists.tripod_ai(report)}
    return report


def _data(material: Material, data: dict[str, Any]) -> dict[str, Any]:
    everyone = {s.patient for s in (*material.slices, *material.studies)}
    # an evaluation covers a scanner by labelled studies that the node would analyse
    analysed = [s for s in material.studies if not s.declined]
    scans = Counter(ScanSource(s.scanner, s.kernel, s.software) for s in analysed if s.scanner)
    return {
        **data,
        "cases": material.cases,
        "patients": len(everyone),
        "simulated_cases": material.simulated_cases,
        "picture_cases": material.picture_cases,
        "without_label": material.without_label,
        "scanners": dict(Counter(s.scanner for s in analysed if s.scanner).most_common()),
        "scans": [{**asdict(made_by), "studies": n} for made_by, n in sorted(scans.items())],
    }


def _limits(material: Material) -> str:
    words = ["How the set was gathered decides what these figures mean, and this command cannot see it."]
    if material.simulated_cases:
        words.append(
            f"{material.simulated_cases} of {material.cases} cases are simulated: evidence level {EvidenceLevel.E0.value}, no clinical figure."
        )
    if material.picture_cases:
        words.append(
            f"{material.picture_cases} of {material.cases} cases are 8-bit pictures of unknown window: a test of features, not of the product, which reads Hounsfield units."
        )
    if not material.studies:
        words.append("No studies: what is said of slices cannot be said of patients.")
    return " ".join(words)


def _as_used(studies: Sequence[Scored], unread: Sequence[int], threshold: float | None) -> dict[str, Any]:
    """The node does not answer for a study that it declines or cannot read: with those positives counted as missed and none as right."""
    declined = [s for s in studies if s.declined]
    if threshold is None or not studies:
        return {"declined": len(declined), "unread": len(unread), "sensitivity": None, "specificity": None}
    positive, negative = [s for s in studies if s.truth], [s for s in studies if not s.truth]
    right = sum(s.probability >= threshold and not s.declined for s in positive)
    quiet = sum(s.probability < threshold and not s.declined for s in negative)
    return {
        "declined": len(declined),
        "declined_positive": sum(s.truth for s in declined),
        "unread": len(unread),
        "unread_positive": sum(unread),
        "sensitivity": right / (len(positive) + sum(unread)) if positive else None,
        "specificity": quiet / (len(negative) + len(unread) - sum(unread)) if negative else None,
    }


def _overlap(studies: Sequence[Scored]) -> dict[str, Any]:
    dice = np.array([s.dice for s in studies if s.dice is not None])
    with_volume = [s for s in studies if s.volume_ml is not None and s.predicted_ml is not None]
    reference, measured = np.array([(s.volume_ml, s.predicted_ml) for s in with_volume], np.float64).reshape(-1, 2).T
    with_dice = [s for s in studies if s.dice is not None]
    found: dict[str, Any] = {
        "dice": {"n": len(dice), "median": None, "quartiles": None, "reason": "no masks of blood in this set"},
        "volume_ml": metrics.bland_altman(reference, measured),
        "volume_error": metrics.volume_error(reference, measured, answers(with_volume).patients),
        "silver": sum(s.mask_is_silver for s in with_dice),
    }
    if len(dice):
        low, middle, high = np.quantile(dice, [0.25, 0.5, 0.75])
        found["dice"] = {"n": len(dice), "median": float(middle), "quartiles": [float(low), float(high)], "reason": ""}
    return found


def _worst(worst: Worst, threshold: float | None) -> dict[str, list[dict[str, Any]]]:
    def rows(tiles: list[Tile], truth: bool) -> list[dict[str, Any]]:
        found = []
        for t in tiles:
            wrong = None if threshold is None else (t.probability >= threshold) != truth
            found.append({"key": t.key, "probability": t.probability, "words": t.words, "wrong": wrong})
        return found

    return {"misses": rows(worst.of(True), True), "false_alarms": rows(worst.of(False), False)}


def write(report: Report, material: Material, points: dict[str, Points], out: Path) -> list[Path]:
    """The three reports, the evidence draft and the montages. Raises: OSError."""
    out.mkdir(parents=True, exist_ok=True)
    files = {
        out / "report.json": json.dumps(report, indent=1, allow_nan=False) + "\n",
        out / "evidence.json": json.dumps(report["evidence"], indent=1, allow_nan=False) + "\n",
        out / "report.md": _render("report.md.j2", report),
        out / "report.html": _html(report, material, points),
    }
    if report["evidence_of_volume"] is not None:
        of_volume = json.dumps(report["evidence_of_volume"], indent=1, allow_nan=False)
        files[out / "evidence_volume.json"] = of_volume + "\n"
    for path, text in files.items():
        # a name of a file may hold bytes that are no text
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    written = list(files)
    for unit in UNITS:
        for name, truth in (("misses", True), ("false_alarms", False)):
            page = montage(material.worst[unit].of(truth))
            if page is not None:
                written.append(out / f"worst_{unit}_{name}.png")
                page.save(written[-1])
    return written


def _html(report: Report, material: Material, points: dict[str, Points]) -> str:
    drawn: dict[str, dict[str, Markup]] = {}
    for unit in UNITS:
        columns: Answers = answers(material.of(unit))
        name = UNIT_WORDS[unit].lower()
        parts = report["strata"][unit]
        figures = {
            "roc": plots.roc(columns, points[unit].threshold, f"ROC of {name}"),
            "scores": plots.scores(columns, points[unit].named, f"Answers for {name}"),
            "reliability": plots.reliability(report["calibration"][unit], f"Reliability of {name}"),
            "subtype": plots.forest(parts["subtype"], f"{UNIT_WORDS[unit]} by subtype (positives)"),
            "size": plots.forest([*parts["size"], *parts["area"]], f"{UNIT_WORDS[unit]} by size (positives)"),
            "scanner": plots.forest(
                [*parts["slice distance"], *parts["scanner"], *parts["kernel"]],
                f"{UNIT_WORDS[unit]} by scan (positives)",
            ),
            "patient": plots.forest([*parts["age"], *parts["sex"]], f"{UNIT_WORDS[unit]} by patient (positives)"),
        }
        drawn[unit] = {k: Markup(v) for k, v in figures.items() if v}
    pairs = [
        (s.volume_ml, s.predicted_ml)
        for s in material.studies
        if s.volume_ml is not None and s.predicted_ml is not None
    ]
    reference, measured = np.array(pairs, np.float64).reshape(-1, 2).T
    blood = plots.bland_altman(reference, measured, report["overlap"]["volume_ml"])
    if blood:
        drawn["study"]["volume"] = Markup(blood)
    pictures = {u: {"misses": material.worst[u].of(True), "false_alarms": material.worst[u].of(False)} for u in UNITS}
    return _render("report.html.j2", report, drawn=drawn, pictures=pictures)


def _render(template: str, report: Report, **more: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("triage_node.evaluation"),
        autoescape=template.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, share=share, ci=ci, line=one_line)
    return environment.get_template(template).render(r=report, units=UNIT_WORDS, most=MOST_LISTED, **more) + "\n"


def by_set(figures: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Figures named "stress_level, set, measure" as one row per set, and all others as they are."""
    others: list[dict[str, Any]] = []
    sets: dict[tuple[str, str], dict[str, Any]] = {}
    for f in figures:
        parts = [part.strip() for part in f["name"].split(",")]
        if len(parts) != 3:
            others.append(f)
            continue
        level, name, measure = parts
        start = {"level": level.removeprefix("stress_"), "set": name, "n": f.get("n")}
        row = sets.setdefault((level, name), {**start, "auc": None, "sensitivity": None, "specificity": None})
        row[measure] = f["value"]
    return others, list(sets.values())


def number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def share(value: float | None) -> str:
    """As a percentage with one digit."""
    return "–" if value is None else f"{100 * value:.1f} %"


def ci(pair: Sequence[float] | None, digits: int = 3) -> str:
    return "" if pair is None else f"{pair[0]:.{digits}f}–{pair[1]:.{digits}f}"


def one_line(text: str) -> str:
    """Text from outside inside a Markdown table: one line, no pipe."""
    return " ".join(str(text).replace("|", "/").split())
