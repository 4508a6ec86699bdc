"""CQ500 (Chilamkurthy 2018): 491 studies, many series each, three readers (`reads.csv`). PAPERS.md 7.2."""

from __future__ import annotations

import re
from collections import defaultdict

from triage_node.datasets import dicom_studies, words
from triage_node.datasets.data_set import DataSet, Ledger, closed
from triage_node.datasets.dicom_slices import DicomFile
from triage_node.datasets.folder import Folder
from triage_node.datasets.tables import Row, Table, read_table
from triage_node.domain.case import Case, Labels
from triage_node.domain.errors import CaseUnreadable, DataSetError

NAME = FAMILY = "cq500"
LICENCE = "CC BY-NC-SA 4.0"
TABLE = "reads.csv"
NUMBER = re.compile(r"CQ500[-_ ]?CT[-_ ]?(\d+)", re.IGNORECASE)
"""The table spells CQ500-CT-12, the folders `CQ500CT12 CQ500CT12`."""
READERS = ("R1", "R2", "R3")
SUBTYPES = {"IPH": "iph", "IVH": "ivh", "SAH": "sah", "SDH": "sdh", "EDH": "edh"}
OTHERS = (
    "BleedLocation-Left",
    "BleedLocation-Right",
    "ChronicBleed",
    "Fracture",
    "CalvarialFracture",
    "OtherFracture",
    "MassEffect",
    "MidlineShift",
)


def find_table(folder: Folder) -> str | None:
    return next((f for f in folder.files if f.casefold().split("/")[-1] == TABLE), None)


def open_cq500(folder: Folder) -> DataSet:
    """Truth is the majority of the three readers. Raises DataSetError for a table that is not CQ500's."""
    name = find_table(folder)
    if name is None:
        raise DataSetError(f"{NAME}: expected reads.csv; {folder.found_words()}")
    table = read_table(folder.at(name), name)
    rows = _rows(table)
    ledger = Ledger()
    by_number: defaultdict[int, list[DicomFile]] = defaultdict(list)
    for file in dicom_studies.read_all(folder, ledger):
        found = NUMBER.search(file.name)
        if found is None:
            ledger.skip(file.name, "no CQ500 number in its path")
        else:
            by_number[int(found[1])].append(file)
    cases: list[Case] = []
    for number, files in sorted(by_number.items()):
        study = f"CQ500-CT-{number}"
        try:
            if number not in rows:
                raise CaseUnreadable(f"{study} does not stand in {name}")
            chosen = dicom_studies.choose(study, files, ledger)
        except CaseUnreadable as error:
            label = _labels(table, rows[number]).study_label if number in rows else None
            ledger.skip_study((f.name for f in files), label, str(error))
            continue
        labels = _labels(table, rows[number])
        cases.append(
            dicom_studies.case_of(
                chosen,
                labels,
                source=NAME,
                patient=study,
                study=study,
                licence=LICENCE,
                family=FAMILY,
                overlap_keys=(f"cq500 {number}",),
            )
        )
        ledger.use(*cases[-1].slice_ids)
    for number, row in rows.items():
        if number not in by_number:
            ledger.skip(f"{name} line {row.line} (CQ500-CT-{number})", "no DICOM file of this study")
    return closed(NAME, folder.path, LICENCE, cases, ledger, ["labels: majority of three readers"], FAMILY)


def _rows(table: Table) -> dict[int, Row]:
    key = table.need("name")
    for reader in READERS:
        for column in ("ICH", *SUBTYPES):
            table.need(f"{reader}:{column}")
    rows: dict[int, Row] = {}
    for row in table.rows:
        found = NUMBER.search(row.get(key))
        if found is None:
            raise DataSetError(f"{table.name} line {row.line}: name {row.get(key)[:40]!r} is not like CQ500-CT-12")
        number = int(found[1])
        if number in rows and rows[number].values != row.values:
            raise DataSetError(f"{table.name} line {row.line}: CQ500-CT-{number} stands there twice and differently")
        rows[number] = row
    return rows


def _labels(table: Table, row: Row) -> Labels:
    def majority(column: str) -> int | None:
        votes = []
        for reader in READERS:
            told = row.get(table.find(f"{reader}:{column}"))
            try:
                votes.append(words.stated_label(told))
            except ValueError as error:
                raise DataSetError(f"{table.name} line {row.line}, {reader}:{column}: {error}") from None
        return next((v for v in (0, 1) if votes.count(v) >= 2), None)

    return Labels(
        study_label=majority("ICH"),
        study_subtypes={key: v for column, key in SUBTYPES.items() if (v := majority(column)) is not None},
        clinical={c: float(v) for c in OTHERS if (v := majority(c)) is not None},
    )
