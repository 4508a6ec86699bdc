"""A structured report as indented text, for people who want to read what the machine got.

Source: PS3.3 C.17.3 (content items). Only pydicom: the web process must stay small.
"""

from __future__ import annotations

from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from triage_node.console.texts import displayable

_DEEPEST, _MOST_LINES = 12, 400


def sr_text(file: Path) -> str:
    """The content tree, one item a line. Empty when the file is no SR or cannot be read."""
    try:
        report = dcmread(file, stop_before_pixels=True)
    except (OSError, InvalidDicomError):
        return ""
    if "ContentSequence" not in report:
        return ""
    lines: list[str] = []
    _write(report, 0, lines)
    return "\n".join(lines)


def _write(item: Dataset, depth: int, lines: list[str]) -> None:
    if len(lines) >= _MOST_LINES:
        return
    name = _meaning(item, "ConceptNameCodeSequence")
    value = _value(item)
    text = ": ".join(part for part in (name, value) if part)
    if text:
        lines.append("  " * depth + text)
    if depth < _DEEPEST:
        for child in item.get("ContentSequence", ()):
            _write(child, depth + bool(text), lines)


def _value(item: Dataset) -> str:
    kind = item.get("ValueType", "")
    if kind == "TEXT":
        return displayable(str(item.get("TextValue", "")), 400)
    if kind == "CODE":
        return _meaning(item, "ConceptCodeSequence")
    if kind == "NUM":
        measured = item.get("MeasuredValueSequence", ())
        if not measured:
            return "not measured"
        unit = measured[0].get("MeasurementUnitsCodeSequence", ())
        code = str(unit[0].get("CodeValue", "")) if unit else ""
        return displayable(f"{measured[0].get('NumericValue', '')} {'' if code == '1' else code}", 80)
    if kind in ("UIDREF", "PNAME", "DATE", "TIME", "DATETIME"):
        keyword = {"UIDREF": "UID", "PNAME": "PersonName", "DATETIME": "DateTime"}.get(kind, kind.title())
        return displayable(str(item.get(keyword, "")), 80)
    if kind in ("IMAGE", "COMPOSITE"):
        referenced = item.get("ReferencedSOPSequence", ())
        return displayable(str(referenced[0].get("ReferencedSOPInstanceUID", "")), 64) if referenced else ""
    return ""


def _meaning(item: Dataset, keyword: str) -> str:
    codes = item.get(keyword, ())
    return displayable(str(codes[0].get("CodeMeaning", "")), 120) if codes else ""
