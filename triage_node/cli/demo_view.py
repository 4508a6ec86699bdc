"""What the demo prints: the list before and after, the report of the top case, where its pictures lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydicom
from rich import box
from rich.table import Table

from triage_node.console.pictures import picture

PICTURES = ("heatmap_sc", "summary_sc")
_KIND_OF_CLASS = (
    ("1.2.840.10008.5.1.4.1.1.88.", "SR"),
    ("1.2.840.10008.5.1.4.1.1.66.4", "SEG"),
    ("1.2.840.10008.5.1.4.1.1.66.7", "SEG"),
    ("1.2.840.10008.5.1.4.1.1.7", "SC"),
)
_STYLE_OF_URGENCY = {"critical": "bold red", "high": "bold yellow", "moderate": "yellow"}

Row = dict[str, Any]


def before_and_after(rows: Sequence[Row], applied: bool) -> tuple[Table, Table]:
    """Two tables of the same studies: in the order without flags, and in the one with them.

    `rows` as the API gives them for the view "would-move". `applied` is false in observe mode, where nothing moves.
    """
    before = Table("place", "study", "class", "arrived", box=box.SIMPLE_HEAD, title="The reading list without flags")
    for row in sorted(rows, key=lambda r: r["position_without_flags"] or 0):
        before.add_row(str(row["position_without_flags"]), _name(row), row["order_class"], _clock(row["arrived_at"]))
    title = "The reading list now" if applied else "The reading list as it would be in active mode"
    after = Table("place", "before", "study", "class", "why it stands here", box=box.SIMPLE_HEAD, title=title)
    for row in sorted(rows, key=lambda r: r["position"]):
        style = _STYLE_OF_URGENCY[row["flag"]["urgency"]] if row["flag"] else ""
        after.add_row(str(row["position"]), _move(row), _name(row), row["order_class"], row["reason"], style=style)
    return before, after


def _name(row: Row) -> str:
    return row["label"]


def _clock(instant: str) -> str:
    return instant[11:19]


def _move(row: Row) -> str:
    old, new = row["position_without_flags"], row["position"]
    if old is None or old == new:
        return "="
    return f"{old} {'▲' if new < old else '▼'}"


def flagged_elsewhere(rows: Sequence[Row]) -> Table:
    """Flagged studies that stand beside the order because they are not live."""
    table = Table(
        "study", "finding", box=box.SIMPLE_HEAD, title="Flagged, but not recent: these stand under late flags"
    )
    for row in rows:
        table.add_row(_name(row), row["flag"]["words"] if row["flag"] else "")
    return table


def write_pictures(study: dict[str, Any], archive: Path, folder: Path) -> list[Path]:
    """The heatmaps and the summary of a study, read back from the archive and written as PNG, in order of instance."""
    files = []
    for built in study.get("objects", []):
        file = archive / study["study_instance_uid"] / f"{built['sop_instance_uid']}.dcm"
        if built["kind"] in PICTURES and file.exists():
            head = pydicom.dcmread(file, stop_before_pixels=True)
            files.append((built["kind"], int(head.get("InstanceNumber") or 0), file))
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for kind, number, file in sorted(files):
        png = picture(file)
        if png is not None:
            path = folder / f"{kind.removesuffix('_sc')}-{number:03d}.png"
            path.write_bytes(png)
            written.append(path)
    return written


def kept_kinds(archive: Path, study_instance_uid: str) -> Counter[str]:
    """How many reports (SR), segmentations (SEG) and secondary captures (SC) of a study the archive holds."""
    found: Counter[str] = Counter()
    for file in (archive / study_instance_uid).glob("*.dcm"):
        sop_class = str(pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SOPClassUID"]).SOPClassUID)
        found[next((kind for prefix, kind in _KIND_OF_CLASS if sop_class.startswith(prefix)), "other")] += 1
    return found
