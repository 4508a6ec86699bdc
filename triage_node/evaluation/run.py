"""`triage-node evaluate`: every case of a data set through the detector, one at a time, and a report of what came out."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triage_node import __version__
from triage_node.bundle.load import Bundle
from triage_node.detection.ich import BloodNetDetector
from triage_node.domain.case import NOT_SCORED, Case, HeadVolume
from triage_node.domain.errors import EvaluationError, TriageNodeError
from triage_node.domain.finding import SUBTYPES, BundleIdentity, OperatingPoint
from triage_node.evaluation.answering import Answer, answer
from triage_node.evaluation.report import Material, Points, Report, build, by_set, write
from triage_node.evaluation.scored import Scored
from triage_node.evaluation.source import Source
from triage_node.evaluation.worst import WINDOW_HU, tile

STRESS = "stress_"
"""Figures of the bundle whose names begin so were measured under altered appearances, thresholds fixed before."""

NOTES_SHOWN = 40

Bools = NDArray[np.bool_]
Masks = tuple[Bools, ...]


def evaluate(
    bundle: Bundle,
    source: Source,
    out: Path,
    point: OperatingPoint | None = None,
    advance: Callable[[int], None] = lambda slices: None,
) -> tuple[Report, list[Path]]:
    """Score all cases and write the reports into `out`. `point`: thresholds in force at a node, else the bundle's own.

    `advance` is told after each case how many slices it had. Raises: BundleError, EvaluationError.
    """
    _reads_heads(bundle)
    prepare(out)
    begun = time.monotonic()
    detector = _detector(bundle)
    points = points_of(bundle, point)
    material = collect(detector, source.cases, points, advance)
    material.skipped = [*source.skipped, *material.skipped]
    material.unread += source.unread
    made = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "seconds": round(time.monotonic() - begun, 1),
    }
    data = {
        "name": source.name,
        "layout": source.layout,
        "digest": source.digest,
        "notes": list(source.notes[:NOTES_SHOWN]),
        "received": {"all": source.received, "words": source.received_words},
    }
    described = describe(bundle, detector.identity, point)
    report = build(detector.identity, described, points, material, data, made, _stress(bundle))
    try:
        return report, write(report, material, points, out)
    except OSError as error:
        raise EvaluationError(f"{out}: the report cannot be written: {error.strerror}") from error


def prepare(out: Path) -> None:
    """Make the folder and try to write, before hours are spent. Raises: EvaluationError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            return
    except OSError as error:
        raise EvaluationError(f"--out {out}: {error.strerror}; name a folder that this user may write") from error


def _reads_heads(bundle: Bundle) -> None:
    outputs = bundle.manifest.network_data_format.outputs
    if not {"mask", "slices"} <= set(outputs):
        raise EvaluationError(
            f"bundle {bundle.manifest.name} has outputs {', '.join(outputs)}; this command evaluates detectors, which have mask and slices"
        )


def _detector(bundle: Bundle) -> BloodNetDetector:
    try:
        return BloodNetDetector(bundle)
    except TriageNodeError:
        raise
    except Exception as error:  # the runtime has errors of its own for a file that is no network
        raise EvaluationError(
            f"the network of bundle {bundle.manifest.name} does not load: {str(error)[:200]}"
        ) from error


def points_of(bundle: Bundle, point: OperatingPoint | None) -> dict[str, Points]:
    """Stored thresholds for studies and slices."""
    entry = bundle.manifest.operating_points.get("ich")
    if entry is None:
        nothing = Points(None, words="the bundle stores no operating point")
        return {"study": nothing, "slice": nothing}
    flag = point.raise_probability if point else entry.raise_probability
    notify = point.notify_probability if point else entry.notify_probability
    where = f"threshold in force at this node, policy version {point.version}" if point else "threshold of the bundle"
    low = point.unsure_from if point else entry.unsure_from
    chosen_on = "" if point else f"; chosen on: {entry.chosen_on}"
    study = Points(flag, low, None if low is None else flag, notify, f"raise {where}, {flag:.4f}{chosen_on}")
    if entry.slice_probability is None:
        words = f"no threshold for single slices is stored: the study's, {flag:.4f}, is used"
        return {"study": study, "slice": Points(flag, words=words)}
    words = f"slice threshold of the bundle, {entry.slice_probability:.4f}"
    return {"study": study, "slice": Points(entry.slice_probability, words=words)}


def describe(bundle: Bundle, identity: BundleIdentity, point: OperatingPoint | None) -> dict[str, Any]:
    """What the report says of the bundle."""
    m = bundle.manifest
    in_force = {f: e.model_dump(mode="json") for f, e in m.operating_points.items()}
    if point is not None:
        in_force["ich"] = {
            "raise_probability": point.raise_probability,
            "notify_probability": point.notify_probability,
            "unsure_from": point.unsure_from,
            "policy_version": point.version,
        }
    return {
        "name": m.name,
        "version": m.version,
        "digest": bundle.digest,
        "preprocessing_version": m.preprocessing.version,
        "operating_points": in_force,
        "evidence": {output: level.value for output, level in m.evidence.items()},
        "intended_use": m.intended_use,
        "runtime": identity.runtime,
    }


def _stress(bundle: Bundle) -> dict[str, Any]:
    rows = [f.model_dump(mode="json") for f in bundle.manifest.evaluation if f.name.startswith(STRESS)]
    if not rows:
        return {
            "figures": [],
            "sets": [],
            "words": "",
            "reason": "The bundle stores no figures under altered appearances.",
        }
    words = "Measured when the bundle was made, on its own data under altered appearances, thresholds fixed before:"
    summary, sets = by_set(rows)
    return {"figures": summary, "sets": sets, "words": words, "reason": ""}


def collect(
    detector: BloodNetDetector,
    cases: Iterable[Case],
    points: dict[str, Points],
    advance: Callable[[int], None] = lambda slices: None,
) -> Material:
    """Answers and labels of all cases; pixels of one case at a time. What cannot be read is listed, never counted."""
    material = Material()
    for case in cases:
        try:
            head = case.load()
            _matches(case, head)
            found = answer(detector, head)
            _take(material, case, head, found, _blood(case, head), points)
        except (TriageNodeError, ValueError, OSError) as error:
            material.skipped.append((case.key, str(error) or type(error).__name__))
            if len(case.slice_ids) > 1 and (label := study_label(case)) is not None:
                material.unread.append(label)
        advance(max(1, len(case.slice_ids)))
    if not material.studies:
        material.no_studies_reason = "no studies: single slices only" if material.slices else ""
    return material


def _matches(case: Case, head: HeadVolume) -> None:
    labels = len(case.labels.slice_labels)
    if labels and labels != head.n_slices:
        raise ValueError(f"{head.n_slices} slices were read, {labels} have labels")


@dataclass(frozen=True, slots=True)
class _Blood:
    """Reference masks of blood and, where somebody said "not scored", what is to be left out."""

    blood: Masks
    scored: Masks


def _blood(case: Case, head: HeadVolume) -> _Blood | None:
    mask = case.labels.mask
    if mask is None or not mask.marks_blood:
        return None
    pictures = mask.load()
    if len(pictures) != head.n_slices or any(p.shape != head.slice_shape(i) for i, p in enumerate(pictures)):
        raise ValueError("the mask has another shape than the images")
    unknown = [v for v, word in mask.meaning.items() if word == NOT_SCORED]
    return _Blood(tuple(np.isin(p, mask.blood_values) for p in pictures), tuple(~np.isin(p, unknown) for p in pictures))


def _take(
    material: Material, case: Case, head: HeadVolume, found: Answer, truth: _Blood | None, points: dict[str, Points]
) -> None:
    """One case's answers into the material."""
    labels = case.labels
    material.cases += 1
    material.simulated_cases += case.simulated
    material.picture_cases += not head.is_hu
    common = {
        "patient": f"{case.source}/{case.patient_id}",
        "step_mm": _step_mm(case, head),
        "scanner": case.scanner,
        "kernel": case.kernel,
        "software": case.software,
        "age_years": labels.age_years,
        "sex": case.sex,
        "origin": ("simulated, " if case.simulated else "") + case.source,
        "picture": not head.is_hu,
    }
    names = case.slice_ids if len(case.slice_ids) == head.n_slices else tuple(str(i) for i in range(head.n_slices))
    slice_labels = labels.slice_labels or (labels.study_label if head.n_slices == 1 else None,) * head.n_slices
    single = found.study is None
    for i, known in enumerate(slice_labels):
        if known is None:
            material.without_label += single
            continue
        own = labels.slice_subtypes[i] if i < len(labels.slice_subtypes) else labels.study_subtypes if single else {}
        scored = Scored(
            key=names[i] if single else f"{case.study_id}, {names[i]}",
            truth=bool(known),
            probability=float(found.slices[i]),
            subtypes=_present(own),
            subtype_probabilities={k: float(p) for k, p in zip(SUBTYPES, found.subtypes[i], strict=True)},
            area_mm2=_area_mm2(head, truth, i),
            **common,
        )
        material.slices.append(scored)
        _offer(material, "slice", scored, head, found, truth, i, points)
    if found.study is None:
        return
    if found.declined:
        material.declined.append((case.key, found.declined))
    known = study_label(case)
    if known is None:
        material.without_label += 1
        return
    scored = Scored(
        key=case.study_id,
        truth=bool(known),
        probability=found.study,
        subtypes=_present(labels.study_subtypes) or _present(*labels.slice_subtypes),
        subtype_probabilities=found.study_subtypes or {},
        volume_ml=_volume_ml(case, head, truth) if known else None,
        predicted_ml=found.volume_ml,
        dice=dice(found.masks, truth.blood, truth.scored) if truth is not None and known else None,
        mask_is_silver=labels.mask is not None and labels.mask.silver,
        declined=found.declined,
        **common,
    )
    material.studies.append(scored)
    _offer(material, "study", scored, head, found, truth, _key_slice(case, found, truth), points)


def study_label(case: Case) -> int | None:
    """The study's label, else what its slices say: one positive is enough, negative only when all are known."""
    labels = case.labels
    if labels.study_label is not None:
        return labels.study_label
    if 1 in labels.slice_labels:
        return 1
    return 0 if labels.slice_labels and set(labels.slice_labels) == {0} else None


def dice(found: Masks, truth: Masks, scored: Masks) -> float | None:
    """Overlap of two masks where it is scored; None when neither marks anything."""
    both = sum(int((f & t & s).sum()) for f, t, s in zip(found, truth, scored, strict=True))
    either = sum(int((f & s).sum()) + int((t & s).sum()) for f, t, s in zip(found, truth, scored, strict=True))
    return 2 * both / either if either else None


def _present(*subtypes: Any) -> tuple[str, ...]:
    return tuple(k for k in SUBTYPES if any(s.get(k) == 1 for s in subtypes))


def _step_mm(case: Case, head: HeadVolume) -> float | None:
    if head.positions_mm is not None and head.n_slices > 1:
        return float(np.median(np.diff(head.positions_mm)))
    return case.thickness_mm


def _volume_ml(case: Case, head: HeadVolume, truth: _Blood | None) -> float | None:
    if truth is not None and head.is_hu:
        measured = head.volume_ml(np.stack(truth.blood))
        if measured is not None:
            return measured
    return case.labels.volume_ml


def _area_mm2(head: HeadVolume, truth: _Blood | None, index: int) -> float | None:
    if truth is None or head.pixel_spacing_mm is None or not truth.blood[index].any():
        return None
    return float(truth.blood[index].sum()) * head.pixel_spacing_mm[0] * head.pixel_spacing_mm[1]


def _key_slice(case: Case, found: Answer, truth: _Blood | None) -> int:
    """The slice to show: most labelled blood, else the likeliest slice with a positive label, else the likeliest."""
    if truth is not None and any(b.any() for b in truth.blood):
        return int(np.argmax([b.sum() for b in truth.blood]))
    positive = [i for i, known in enumerate(case.labels.slice_labels) if known == 1]
    return max(positive, key=lambda i: found.slices[i]) if positive else int(found.slices.argmax())


def _offer(
    material: Material, unit: str, scored: Scored, head: HeadVolume, found: Answer, truth: _Blood | None, index: int,
    points: dict[str, Points],
) -> None:  # fmt: skip
    def draw() -> NDArray[np.uint8]:
        outline = truth.blood[index] if truth is not None and scored.truth else found.masks[index]
        if head.hu is not None:
            return tile(head.hu[index], *WINDOW_HU, outline)
        return tile(head.grey[index], 0.0, 255.0, outline)

    words = ", ".join(scored.subtypes) or ("hemorrhage" if scored.truth else "none")
    threshold = points[unit].threshold
    if threshold is not None:
        words += ", flagged" if scored.probability >= threshold else ", not flagged"
    material.worst[unit].offer(scored.truth, scored.probability, scored.key, words, draw)
