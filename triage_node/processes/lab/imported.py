"""Truth from outside: a table of labels, checked line by line before any of it is stored.

First line: names of columns. `study_instance_uid` or `accession_number` names the study, `label` is 1 or 0 (also yes, no,
positive, negative). Other columns are not read. One wrong line, and nothing is stored.
"""

from __future__ import annotations

import csv
import io
from datetime import datetime

from triage_node.console.lab_deps import Imported
from triage_node.console.texts import displayable
from triage_node.domain.identifiers import is_uid
from triage_node.domain.policy import Truth
from triage_node.store import truth
from triage_node.store.engine import Store

MOST_LINES = 50_000
MOST_PROBLEMS = 20
LONGEST_CELL = 256
_LABELS = {
    "1": True,
    "yes": True,
    "positive": True,
    "true": True,
    "0": False,
    "no": False,
    "negative": False,
    "false": False,
}


def take_in(store: Store, text: str, source: str, covers_unflagged: bool, by: str, at: datetime) -> Imported:
    """Store the labels of one table, or say what is wrong with it."""
    named = " ".join(source.split())
    if not named or len(named) > 80 or not named.isprintable():
        return Imported(problems=("Say in 1 to 80 characters where these labels come from.",))
    try:
        rows = _rows(text)
    except (csv.Error, ValueError) as error:
        return Imported(problems=(f"This is no table of labels: {displayable(str(error), 120)}.",))
    if isinstance(rows, Imported):
        return rows
    problems: list[str] = []
    labels: dict[str, Truth] = {}
    known, by_number = truth.uids(store), truth.uids_by_accession_number(store)
    for line, row in rows:
        uid, wrong = _study(row, known, by_number)
        label = _LABELS.get((row.get("label") or "").strip().lower())
        if not wrong and label is None:
            wrong = "the label is neither 1 nor 0"
        if not wrong and uid in labels and labels[uid].positive is not label:
            wrong = "the study stands twice, with both labels"
        if wrong:
            problems.append(f"Line {line}: {wrong}.")
        elif label is not None:
            labels[uid] = Truth(uid, label, named, covers_unflagged, at)
    if problems:
        more = len(problems) - MOST_PROBLEMS
        shown = problems[:MOST_PROBLEMS] + ([f"And {more} more."] if more > 0 else [])
        return Imported(problems=tuple(shown))
    if not labels:
        return Imported(problems=("The table has no line below its names.",))
    truth.add(store, list(labels.values()), by, at)
    return Imported(len(labels), sum(t.positive for t in labels.values()))


def _rows(text: str) -> list[tuple[int, dict[str, str]]] | Imported:
    lines = text.removeprefix("\ufeff").splitlines()
    if len(lines) > MOST_LINES + 1:
        return Imported(problems=(f"{len(lines)} lines; {MOST_LINES} at most.",))
    if any("\x00" in line for line in lines):
        raise ValueError("it holds binary zeros")
    head = lines[0] if lines else ""
    separator = ";" if head.count(";") > head.count(",") else "\t" if "\t" in head else ","
    reader = csv.reader(io.StringIO("\n".join(lines)), delimiter=separator, strict=True)
    names = [name.strip().lower() for name in next(reader, [])]
    if "label" not in names or not {"study_instance_uid", "accession_number"} & set(names):
        words = "The first line must name the columns study_instance_uid (or accession_number) and label."
        return Imported(problems=(words,))
    if len(set(names)) != len(names):
        return Imported(problems=("The first line names a column twice.",))
    found = []
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(names) or any(len(cell) > LONGEST_CELL for cell in row):
            raise ValueError(f"line {reader.line_num} does not fit the first one")
        found.append((reader.line_num, dict(zip(names, row, strict=True))))
    return found


def _study(row: dict[str, str], known: set[str], by_number: dict[str, list[str]]) -> tuple[str, str]:
    """(Study Instance UID, what is wrong)."""
    uid = (row.get("study_instance_uid") or "").strip()
    if uid:
        if not is_uid(uid):
            return "", "that is no Study Instance UID"
        return (uid, "") if uid in known else ("", "this node does not know the study")
    number = (row.get("accession_number") or "").strip()
    if not number:
        return "", "no study is named"
    found = by_number.get(number, [])
    if len(found) == 1:
        return found[0], ""
    return (
        "",
        f"the accession number stands for {len(found)} studies here" if found else "this node does not know the study",
    )
