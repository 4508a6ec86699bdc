"""The cohort of Perez del Barrio and Cobo (DIGITAL.CSIC 10261/275792, arXiv 2408.08784): skull-stripped CTs with outcome.

`GOOD_PROGNOSIS/<id>_brain.nii.gz`, `POOR_PROGNOSIS/<id>_brain.nii.gz`, `CLINICAL_DATA_ICH.csv` (spelling as it stands).
"""

from __future__ import annotations

import re
from functools import partial

from triage_node.datasets import nifti, words
from triage_node.datasets.data_set import DataSet, Ledger, closed
from triage_node.datasets.folder import Folder
from triage_node.datasets.tables import Row, Table, read_table
from triage_node.domain.case import Case, Labels
from triage_node.domain.errors import CaseUnreadable, DataSetError

NAME = "csic-ich-prognosis"
LICENCE = "access on request; no redistribution"
TABLE = "clinical_data_ich.csv"
OUTCOMES = {"good_prognosis": 0, "poor_prognosis": 1}
MEANING = "poor prognosis as the cohort defines it (time and scale were not stated in what is public)"
LEFT_OUT_BY_ITS_AUTHORS = "213"


def fits(folder: Folder) -> bool:
    return any(p.casefold() in OUTCOMES for f in folder.files for p in f.split("/")[:-1])


def open_cobo(folder: Folder) -> DataSet:
    """Raises DataSetError when folder and table contradict each other on an outcome."""
    ledger = Ledger()
    volumes = folder.ending(*nifti.SUFFIXES)
    ledger.see(*volumes)
    tables = [f for f in folder.files if f.casefold().split("/")[-1] == TABLE]
    if not tables:
        raise DataSetError(f"{NAME}: expected CLINICAL_DATA_ICH.csv; {folder.found_words()}")
    table = read_table(folder.at(tables[0]), tables[0])
    rows = _rows(table)
    outcome_column = table.find("Label", "poor_prognosis", "Label (poor_prognosis)")
    cases: list[Case] = []
    for f in volumes:
        parts = f.split("/")
        outcome = next((OUTCOMES[p.casefold()] for p in parts[:-1] if p.casefold() in OUTCOMES), None)
        found = re.match(r"(.+?)_brain\.nii(?:\.gz)?$", parts[-1], re.IGNORECASE)
        if outcome is None or found is None:
            ledger.skip(f, "expected GOOD_PROGNOSIS/<id>_brain.nii.gz or POOR_PROGNOSIS/<id>_brain.nii.gz")
            continue
        patient = _name(found[1])
        if patient == LEFT_OUT_BY_ITS_AUTHORS:
            ledger.skip(f, "left out by the authors of the published figures")
            continue
        row = rows.pop(patient, None)
        if row is None:
            ledger.skip(f, f"patient {patient} does not stand in {table.name}, or has two scans")
            continue
        told = words.number(row.get(outcome_column))
        if told is not None and told != outcome:
            raise DataSetError(f"{table.name} line {row.line}: outcome {told:g}, but the scan lies in {parts[-2]}")
        try:
            nifti.check(folder.at(f))
        except CaseUnreadable as error:
            ledger.skip(f, str(error))
            continue
        cases.append(
            Case(
                source=NAME,
                patient_id=patient,
                study_id=patient,
                slice_ids=(f,),
                labels=_labels(table, row, outcome),
                load=partial(nifti.read, folder.at(f), True),
                sex=words.sex(row.get(table.find("Sex", "gender"))),
                licence=LICENCE,
                family=NAME,
            )
        )
        ledger.use(f)
    for patient, row in rows.items():
        if patient != LEFT_OUT_BY_ITS_AUTHORS:
            ledger.skip(f"{table.name} line {row.line} ({patient})", "no scan of this patient that can be used")
    notes = ["skull-stripped: outside of the brain stands 0", "the cohort holds head traumas (Cause_head_trauma)"]
    return closed(NAME, folder.path, LICENCE, cases, ledger, notes)


def _name(text: str) -> str:
    """`007`, `7` and `7.0` are one patient."""
    value = words.number(text)
    return str(int(value)) if value is not None and value == int(value) else text.strip()


def _rows(table: Table) -> dict[str, Row]:
    key = table.need("PatientID", "patient", "id")
    rows: dict[str, Row] = {}
    for row in table.rows:
        patient = _name(row.get(key))
        if patient in rows and rows[patient].values != row.values:
            raise DataSetError(f"{table.name} line {row.line}: patient {patient} stands there twice and differently")
        rows[patient] = row
    return rows


def _labels(table: Table, row: Row, outcome: int) -> Labels:
    clinical: dict[str, float | str] = {}
    for column, told in table.columns.items():
        if text := row.get(column):
            value = words.number(text)
            clinical[told] = text if value is None else value
    gcs, age = words.number(row.get(table.find("GCS"))), words.number(row.get(table.find("Age")))
    return Labels(
        study_label=1,
        gcs=int(gcs) if gcs is not None and 3 <= gcs <= 15 else None,
        age_years=age,
        outcome=outcome,
        outcome_meaning=MEANING,
        clinical=clinical,
    )
