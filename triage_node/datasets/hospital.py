"""A hospital's own cases: a folder of DICOM studies, in any order of sub-folders, and one CSV with a row per study.

Columns: `study` (Study Instance UID, accession number, patient id, or the name of the study's folder) and `label` (1, 0, -1).
Optional: subtype, or one 0/1 column per subtype; volume_ml, gcs, age, outcome (1 poor), expansion (1 grew), patient. All other
columns are kept as clinical facts under their own names.
"""

from __future__ import annotations

from collections import defaultdict

from triage_node.datasets import dicom_studies, plain, words
from triage_node.datasets.data_set import DataSet, Ledger, closed
from triage_node.datasets.dicom_slices import DicomFile, is_dicom
from triage_node.datasets.folder import Folder
from triage_node.datasets.tables import Row, Table, nearest, read_columns, read_table
from triage_node.domain.case import Case, Labels
from triage_node.domain.errors import CaseUnreadable, DataSetError

NAME = "hospital"
LICENCE = "the hospital's own cases"
STUDY = (
    "study",
    "study instance uid",
    "studyuid",
    "study uid",
    "accession number",
    "accession",
    "folder",
    "study id",
    "exam",
    "patient id",
)
MEANING = "as the hospital's table says it"


def find_table(folder: Folder) -> str | None:
    """The CSV at the top that has a study and a label column and none of files or slices, beside DICOM files."""
    fitting = []
    for name in folder.ending(".csv", ".tsv"):
        if "/" in name:
            continue
        try:
            table = read_columns(folder.at(name), name)
        except DataSetError:
            continue
        of_slices = table.find(*plain.FILE) or table.find(*plain.SLICE)
        if table.find(*STUDY) and table.find(*plain.LABEL) and not of_slices:
            fitting.append(name)
    if fitting and not any(is_dicom(folder.at(f)) for f in folder.files):
        return None
    if len(fitting) > 1:
        raise DataSetError(f"several tables with study and label: {', '.join(fitting)}; one was expected")
    return fitting[0] if fitting else None


def open_hospital(folder: Folder) -> DataSet:
    """Raises DataSetError for a table that does not fit, or a study that two rows label differently."""
    name = find_table(folder)
    if name is None:
        raise DataSetError(f"{NAME}: expected a CSV with columns study and label; {folder.found_words()}")
    table = read_table(folder.at(name), name)
    key = table.need(*STUDY)
    ledger, notes = Ledger(), list[str]()
    by_study: defaultdict[str, list[DicomFile]] = defaultdict(list)
    for file in dicom_studies.read_all(folder, ledger):
        by_study[file.header.study_instance_uid].append(file)
    names = _names(by_study)
    rows: dict[str, Row] = {}
    for row in table.rows:
        told = row.get(key)
        if not told:
            raise DataSetError(f"{table.name} line {row.line}: no {table.columns[key]}")
        studies = names.get(told.casefold().strip("/"), set())
        where = f"{table.name} line {row.line} ({told[:64]})"
        if len(studies) != 1:
            many = "several studies of this name" if studies else f"no study of this name{nearest(told, names)}"
            ledger.skip(where, many)
            continue
        (study,) = studies
        if study not in rows:
            rows[study] = row
        elif _labels(table, row, key) != _labels(table, rows[study], key):
            raise DataSetError(f"{where}: this study stands in line {rows[study].line} with other labels")
        else:
            ledger.skip(where, f"the same as line {rows[study].line}")
    cases: list[Case] = []
    patient_column, sex_column = _patient_column(table, key), table.find("sex", "gender")
    for study, files in by_study.items():
        if study not in rows:
            ledger.skip_study((f.name for f in files), None, f"its study does not stand in {name}")
            continue
        row = rows[study]
        labels = _labels(table, row, key, files[0].age_years)
        try:
            chosen = dicom_studies.choose(study, files, ledger)
        except CaseUnreadable as error:
            ledger.skip_study((f.name for f in files), labels.study_label, str(error))
            continue
        patients = {f.header.patient_id for f in files if f.header.patient_id}
        cases.append(
            dicom_studies.case_of(
                chosen,
                labels,
                source=NAME,
                patient=row.get(patient_column) or (min(patients) if patients else study),
                study=study,
                licence=LICENCE,
                family=NAME,
                sex=words.sex(row.get(sex_column)),
            )
        )
        ledger.use(*cases[-1].slice_ids)
    if not rows:
        raise DataSetError(
            f"{table.name}: none of its {len(table.rows)} rows names a study of this folder (by UID, accession number, "
            f"patient id or folder); found {len(by_study)} DICOM studies"
        )
    return closed(NAME, folder.path, LICENCE, cases, ledger, notes)


def _patient_column(table: Table, key: str) -> str | None:
    found = table.find(*plain.PATIENT, "subject")
    return None if found == key else found


def _names(by_study: dict[str, list[DicomFile]]) -> dict[str, set[str]]:
    """Everything by which a table may name a study. A folder names one when all its DICOM files are of that study."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    for study, files in by_study.items():
        for file in files:
            folders = file.name.split("/")[:-1]
            paths = ["/".join(folders[: i + 1]) for i in range(len(folders))]
            for told in (study, file.header.accession_number, file.header.patient_id, *folders, *paths):
                if told:
                    names[told.casefold()].add(study)
    return names


def _labels(table: Table, row: Row, key: str, header_age: float | None = None) -> Labels:
    where = f"{table.name} line {row.line}"
    label_column = table.need(*plain.LABEL)
    special = {
        "volume_ml": table.find(*plain.NUMBERS["volume_ml"]),
        "gcs": table.find("gcs"),
        "age": table.find(*plain.NUMBERS["age_years"]),
        "outcome": table.find("outcome", "poor outcome"),
        "expansion": table.find("expansion", "hematoma expansion"),
    }
    per_subtype = {k: c for k, n in plain.PER_SUBTYPE.items() if (c := table.find(*n)) is not None}
    subtype = table.find(*plain.SUBTYPE)
    try:
        label = words.stated_label(row.get(label_column))
        subtypes, _, _ = plain.subtypes_of(row, label, subtype, per_subtype)
        outcome, expansion = (words.stated_label(row.get(special[k])) for k in ("outcome", "expansion"))
    except ValueError as error:
        raise DataSetError(f"{where}: {error}") from None
    numbers = {k: words.number(row.get(special[k])) for k in ("volume_ml", "gcs", "age")}
    gcs = numbers["gcs"]
    if gcs is not None and not (gcs == int(gcs) and 3 <= gcs <= 15):
        raise DataSetError(f"{where}: GCS {gcs:g} is not a whole number from 3 to 15")
    patient = _patient_column(table, key)
    taken = {key, label_column, subtype, patient, *special.values(), *per_subtype.values()}
    clinical: dict[str, float | str] = {}
    for column, told in table.columns.items():
        if column not in taken and (text := row.get(column)):
            value = words.number(text)
            clinical[told] = text if value is None else value
    return Labels(
        study_label=label,
        study_subtypes=subtypes,
        volume_ml=numbers["volume_ml"],
        gcs=None if gcs is None else int(gcs),
        age_years=numbers["age"] if numbers["age"] is not None else header_age,
        outcome=outcome,
        outcome_meaning=MEANING if outcome is not None else "",
        expansion=expansion,
        expansion_meaning=MEANING if expansion is not None else "",
        clinical=clinical,
    )
