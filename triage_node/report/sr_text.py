"""A structured report as indented text, for people who want to read what the machine got.

Needs pydicom only: the web process shows it and must not load highdicom. Source: PS3.3 C.17.3 (content items).
"""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset

from triage_node.report.plain_values import single_text

DEEPEST, MOST_LINES = 16, 400
"""Content trees of ours are six deep and some hundred lines long; others were not written by us."""


def sr_as_text(ds: Dataset) -> str:
    """A structured report as indented lines that a person reads. Never raises on odd content; "" when it is no SR.

    What it says of itself comes first. The algorithm, the same in every group, is told once; the image library, identifiers
    and the language are left to machines.
    """
    if not ds.get("ContentSequence"):
        return ""
    lines = [_meaning(ds, "ConceptNameCodeSequence") or "Structured report", single_text(ds, "SeriesDescription", 64)]
    flags = [single_text(ds, k, 16).lower() for k in ("CompletionFlag", "PreliminaryFlag", "VerificationFlag")]
    if any(flags):
        lines.append("Status: " + ", ".join(f for f in flags if f))
    if before := _predecessors(ds):
        lines.append("Replaces: " + ", ".join(before))
    comments = [i for i in ds.ContentSequence if _code_value(i, "ConceptNameCodeSequence") == _COMMENT]
    told: set[str] = set()
    for item in comments + [i for i in ds.ContentSequence if i not in comments]:
        lines += _lines(item, 0, told)
    return "\n".join([line for line in lines if line.strip()][:MOST_LINES]) + "\n"


def _predecessors(ds: Dataset) -> list[str]:
    return [
        single_text(reference, "ReferencedSOPInstanceUID", 64)
        for study in ds.get("PredecessorDocumentsSequence", ())
        for series in study.get("ReferencedSeriesSequence", ())
        for reference in series.get("ReferencedSOPSequence", ())
    ]


_COMMENT = "121106"
_FOR_MACHINES = frozenset({"111028", "121049", "121012", "112040"})
"""Image Library, Language, Device Observer UID, Tracking Unique Identifier."""


def _lines(item: Dataset, depth: int, told: set[str]) -> Iterator[str]:
    concept = _code_value(item, "ConceptNameCodeSequence")
    if depth > DEEPEST or concept in _FOR_MACHINES:
        return
    name, value = _meaning(item, "ConceptNameCodeSequence"), _value(item)
    line = f"{name}: {value}" if name and value else name or value
    if name.startswith("Algorithm "):
        if line in told:
            return
        told.add(line)
    if line:
        yield "  " * depth + line
    for child in item.get("ContentSequence", ()):
        yield from _lines(child, depth + 1, told)


def _value(item: Dataset) -> str:
    match item.get("ValueType"):
        case "TEXT":
            return single_text(item, "TextValue", 1024)
        case "CODE":
            return _meaning(item, "ConceptCodeSequence")
        case "NUM":
            return " ".join(_number(m) for m in item.get("MeasuredValueSequence", ())) or "not measured"
        case "UIDREF":
            return single_text(item, "UID", 64)
        case "PNAME":
            return single_text(item, "PersonName", 64)
        case "IMAGE" | "COMPOSITE":
            return ", ".join(_reference(r) for r in item.get("ReferencedSOPSequence", ()))
        case "SCOORD":
            points = item.get("GraphicData") or []
            return f"{single_text(item, 'GraphicType', 16).lower()} of {len(points) // 2} points"
        case _:
            return ""


def _number(measured: Dataset) -> str:
    unit = single_text(next(iter(measured.get("MeasurementUnitsCodeSequence", ())), Dataset()), "CodeValue", 16)
    return single_text(measured, "NumericValue", 16) + ("" if unit in ("", "1") else f" {unit}")


def _reference(reference: Dataset) -> str:
    uid = single_text(reference, "ReferencedSOPInstanceUID", 64)
    details = [
        f"{word} {single_text(reference, keyword, 32)}"
        for word, keyword in (("segment", "ReferencedSegmentNumber"), ("frame", "ReferencedFrameNumber"))
        if keyword in reference
    ]
    return " ".join([uid, *details])


def _meaning(item: Dataset, keyword: str) -> str:
    return single_text(next(iter(item.get(keyword, ())), Dataset()), "CodeMeaning", 64)


def _code_value(item: Dataset, keyword: str) -> str:
    return single_text(next(iter(item.get(keyword, ())), Dataset()), "CodeValue", 16)
