"""Tables that people and public data sets bring: comma, semicolon or tab, with or without a byte order mark.

Generous in form, strict in content: a column that is missing is named together with those found, and a value that means
nothing is named with its line.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from triage_node.domain.errors import DataSetError

MAXIMUM_BYTES = 1 << 30
"""The largest table of a known data set (RSNA's, 4.5 million rows) has 120 MB."""

HEADER_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Row:
    """One line: its number in the file (the header is line 1) and its values by the column's normalised name."""

    line: int
    values: dict[str, str]

    def get(self, column: str | None) -> str:
        """The value without spaces around it; empty when there is none."""
        return "" if column is None else self.values.get(column, "")


@dataclass(frozen=True, slots=True)
class Table:
    """`columns`: normalised name -> name as it stands in the file. `name`: the file's, for messages."""

    name: str
    columns: dict[str, str]
    rows: tuple[Row, ...]

    def find(self, *names: str) -> str | None:
        """The first of these columns that is there, by its normalised name."""
        return next((n for n in map(normalised, names) if n in self.columns), None)

    def need(self, *names: str) -> str:
        """Like `find`. Raises DataSetError with what was expected, what was found and the nearest name."""
        found = self.find(*names)
        if found is None:
            raise DataSetError(
                f"{self.name}: no column {names[0]!r}; found {', '.join(map(repr, self.columns.values())) or 'none'}"
                + nearest(names[0], self.columns.values())
            )
        return found


def normalised(name: str) -> str:
    """Lower case, letters and digits only, so that `File Name`, `file_name` and `filename` are one column."""
    return re.sub(r"[\W_]+", "", name.casefold())


def nearest(wanted: str, there: Iterable[str]) -> str:
    """ "; did you mean 'x'?" or nothing."""
    by_norm = {normalised(t): t for t in there}
    close = difflib.get_close_matches(normalised(wanted), by_norm, 1, 0.6)
    return f"; did you mean {by_norm[close[0]]!r}?" if close else ""


def read_table(path: Path, name: str | None = None) -> Table:
    """Read a delimited text file with a header. Raises DataSetError when it is none."""
    name = name or path.name
    try:
        if path.stat().st_size > MAXIMUM_BYTES:
            raise DataSetError(f"{name}: more than {MAXIMUM_BYTES >> 20} MB is no table of labels")
        text = _decoded(path.read_bytes())
    except OSError as error:
        raise DataSetError(f"{name}: cannot be read ({error.strerror})") from error
    if "\0" in text:
        raise DataSetError(f"{name}: binary content where a table of text was expected")
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), skipinitialspace=True)
        header = next((line for line in lines if any(c.strip() for c in line)), [])
        columns = _columns(name, header)
        keys = list(columns)
        rows = []
        for line in lines:
            if not any(c.strip() for c in line):
                continue
            if len(line) > len(header) and any(c.strip() for c in line[len(header) :]):
                raise DataSetError(
                    f"{name} line {lines.line_num}: {len(line)} values in a table of {len(header)} columns"
                )
            by_place = dict(zip(header_keys(header), (c.strip() for c in line), strict=False))
            rows.append(Row(lines.line_num, {k: by_place.get(k, "") for k in keys}))
    except csv.Error as error:
        raise DataSetError(f"{name}: not a table ({error})") from error
    return Table(name, columns, tuple(rows))


def read_columns(path: Path, name: str | None = None) -> Table:
    """The header alone, as a Table without rows, so that a table of millions of lines can be looked at in passing.

    Raises DataSetError when there is none.
    """
    name = name or path.name
    try:
        with path.open("rb") as file:
            text = _decoded(file.read(HEADER_BYTES))
    except OSError as error:
        raise DataSetError(f"{name}: cannot be read ({error.strerror})") from error
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), skipinitialspace=True)
        header = next((line for line in lines if any(c.strip() for c in line)), [])
    except csv.Error as error:
        raise DataSetError(f"{name}: not a table ({error})") from error
    return Table(name, _columns(name, header), ())


def read_sheet(path: Path) -> Table:
    """The first sheet of an Excel workbook as a Table; numbers as text. Raises DataSetError."""
    import openpyxl  # half a second, and only one data set has a workbook

    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        grid = [
            ["" if c is None else str(c).strip() for c in row] for row in book.worksheets[0].iter_rows(values_only=True)
        ]
    except Exception as error:
        raise DataSetError(f"{path.name}: not an Excel workbook ({type(error).__name__}: {error})") from error
    grid = [row for row in grid if any(row)]
    columns = _columns(path.name, grid[0] if grid else [])
    places = header_keys(grid[0])
    return Table(
        path.name,
        columns,
        tuple(Row(i, dict(zip(places, row, strict=False))) for i, row in enumerate(grid[1:], start=2)),
    )


def header_keys(header: Sequence[str]) -> list[str]:
    """Normalised names by place; nameless columns (a pandas index) keep their place under a name that nothing asks for."""
    return [normalised(h) or f"#{i}" for i, h in enumerate(header)]


def _columns(name: str, header: Sequence[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for key, told in zip(header_keys(header), header, strict=True):
        if key in columns:
            raise DataSetError(f"{name}: two columns {told.strip()!r}")
        columns[key] = told.strip()
    if not any(not k.startswith("#") for k in columns):
        raise DataSetError(f"{name}: empty, a header line was expected")
    return columns


def _decoded(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _delimiter(text: str) -> str:
    """The one that the header has most of; a comma when it has none (a single column)."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    return max(",;\t|", key=lambda d: (header.count(d), d == ","))
