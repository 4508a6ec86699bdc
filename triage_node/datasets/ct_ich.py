"""PhysioNet ct-ich (Hssayeni 2020, trauma), and "BCIHM", which is the same under another name. PAPERS.md 7.3.

1.0.0: `Patients_CT/NNN/brain/K.jpg` (windowed, no HU), masks `K_HGE_Seg.jpg`, `hemorrhage_diagnosis.csv`.
1.3.1: `ct_scans/NNN.nii`, `masks/NNN.nii`, `hemorrhage_diagnosis_raw_ct.csv`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from triage_node.datasets import nifti, pictures, words
from triage_node.datasets.data_set import DataSet, Ledger, closed
from triage_node.datasets.folder import Folder
from triage_node.datasets.tables import Row, Table, read_table
from triage_node.domain.case import Case, HeadVolume, LabelMask, Labels
from triage_node.domain.errors import CaseUnreadable, DataSetError

NAME_PICTURES, NAME_VOLUMES, FAMILY = "ct-ich-1.0.0", "ct-ich-1.3.1", "ct-ich"
LICENCE_PICTURES = "CC BY 4.0 per the data descriptor"
LICENCE_VOLUMES = "PhysioNet restricted health data agreement: no redistribution"
TABLE_PICTURES, TABLE_VOLUMES = "hemorrhage_diagnosis.csv", "hemorrhage_diagnosis_raw_ct.csv"
SUBTYPES = {
    "Intraventricular": "ivh",
    "Intraparenchymal": "iph",
    "Subarachnoid": "sah",
    "Epidural": "edh",
    "Subdural": "sdh",
}
BRAIN = re.compile(r"(?:^|/)(\d{1,3})/brain/(\d+)\.jpe?g$", re.IGNORECASE)
MASK = re.compile(r"(?:^|/)(\d{1,3})/brain/(\d+)_HGE_Seg\.jpe?g$", re.IGNORECASE)
BONE = re.compile(r"/bone/", re.IGNORECASE)
VOLUME = re.compile(r"(?:^|/)(ct_scans|masks)/(\d{1,3})\.nii(?:\.gz)?$", re.IGNORECASE)
STEP_MM = 5.0


def fits_pictures(folder: Folder) -> bool:
    return any(BRAIN.search(f) for f in folder.files)


def fits_volumes(folder: Folder) -> bool:
    return any(VOLUME.search(f) for f in folder.files)


# ---- 1.0.0 ------------------------------------------------------------------------------------------------------------


def open_pictures(folder: Folder) -> DataSet:
    """Raises DataSetError for a missing table or one that contradicts itself."""
    rows, name = _diagnoses(folder, TABLE_PICTURES)
    ages = _ages(folder)
    ledger, notes = Ledger(), ["8-bit windowed JPEG: no Hounsfield units"]
    images: defaultdict[int, dict[int, str]] = defaultdict(dict)
    masks: dict[tuple[int, int], str] = {}
    for f in folder.ending(".jpg", ".jpeg"):
        ledger.see(f)
        if BONE.search(f):
            ledger.skip(f, "bone window of a slice that is used in the brain window")
        elif found := MASK.search(f):
            masks[int(found[1]), int(found[2])] = f
        elif found := BRAIN.search(f):
            images[int(found[1])][int(found[2])] = f
    _account_for_rows(rows, name, {(p, s) for p, there in images.items() for s in there}, ledger)
    cases: list[Case] = []
    for patient, by_slice in sorted(images.items()):
        kept: dict[int, str] = {}
        for number, f in sorted(by_slice.items()):
            try:
                if (patient, number) not in rows:
                    raise CaseUnreadable(f"slice {number} of patient {patient} does not stand in {name}")
                pictures.look_at(folder.at(f))
            except CaseUnreadable as error:
                ledger.skip(f, str(error))
            else:
                kept[number] = f
        if not kept:
            continue
        its_masks = [masks.get((patient, number)) for number in kept]
        study = f"{patient:03d}"
        paths = [folder.at(f) for f in kept.values()]
        load_mask = partial(_read_masks, paths, [None if m is None else folder.at(m) for m in its_masks])
        lost = [told for (of, number), told in rows.items() if of == patient and number not in kept]
        labels = words.of_whole_study(
            _labels([rows[patient, number] for number in kept], ages.get(patient)),
            [(t.get("any"), {k: v for k, v in t.items() if k != "any"}) for t in lost],
        )
        used = (*kept.values(), *(m for m in its_masks if m is not None))
        cases.append(
            Case(
                source=NAME_PICTURES,
                patient_id=study,
                study_id=study,
                slice_ids=tuple(kept.values()),
                labels=replace(labels, mask=LabelMask({1: "ich"}, load_mask)),
                load=partial(_read_pictures, paths),
                is_hu=False,
                thickness_mm=STEP_MM,
                licence=LICENCE_PICTURES,
                family=FAMILY,
                overlap_keys=(f"ct-ich {patient}",),
                files=used,
            )
        )
        ledger.use(*used)
    ledger.skip_rest("a mask without its slice, or no file of the published layout")
    return closed(NAME_PICTURES, folder.path, LICENCE_PICTURES, cases, ledger, notes, FAMILY)


def _read_pictures(paths: Sequence[Path]) -> HeadVolume:
    n = len(paths)
    return HeadVolume(
        is_hu=False,
        grey=tuple(pictures.read_grey(p) for p in paths),
        positions_mm=np.arange(n) * STEP_MM,
        thickness_mm=np.full(n, STEP_MM),
    )


def _read_masks(images: Sequence[Path], masks: Sequence[Path | None]) -> tuple[NDArray[np.uint8], ...]:
    """JPEG blurs a mask: half of white decides. A slice without a mask has none marked."""
    read = []
    for image, mask in zip(images, masks, strict=True):
        grey = pictures.read_grey(image)
        marked = np.zeros(grey.shape, np.uint8) if mask is None else (pictures.read_grey(mask) > 127).astype(np.uint8)
        if marked.shape != grey.shape:
            raise CaseUnreadable(f"{image.name}: its mask has {marked.shape} pixels, it has {grey.shape}")
        read.append(marked)
    return tuple(read)


# ---- 1.3.1 ------------------------------------------------------------------------------------------------------------


def open_volumes(folder: Folder) -> DataSet:
    """Raises DataSetError for a missing table or one that contradicts itself."""
    rows, name = _diagnoses(folder, TABLE_VOLUMES)
    ages = _ages(folder)
    ledger = Ledger()
    scans: dict[int, str] = {}
    masks: dict[int, str] = {}
    for f in folder.ending(*nifti.SUFFIXES):
        ledger.see(f)
        if found := VOLUME.search(f):
            (scans if found[1].casefold() == "ct_scans" else masks)[int(found[2])] = f
    by_patient: defaultdict[int, dict[int, _Diagnosis]] = defaultdict(dict)
    for (patient, number), diagnosis in rows.items():
        by_patient[patient][number] = diagnosis
    cases: list[Case] = []
    for patient, f in sorted(scans.items()):
        study, image = f"{patient:03d}", folder.at(f)
        mask = masks.get(patient)
        try:
            stored = nifti.stored_slices(image)
            told = by_patient.get(patient)
            if told is None:
                raise CaseUnreadable(f"patient {patient} does not stand in {name}")
            if sorted(told) != list(range(1, len(stored) + 1)):
                raise CaseUnreadable(f"{len(stored)} slices, {len(told)} rows in {name}")
        except CaseUnreadable as error:
            ledger.skip(f, str(error))
            continue
        labels = _labels([told[k + 1] for k in stored], ages.get(patient))
        if mask is not None:
            load_mask = partial(nifti.read_mask, folder.at(mask), image, (1, 255))
            labels = replace(labels, mask=LabelMask({1: "ich", 255: "ich"}, load_mask))
        used = (f,) if mask is None else (f, mask)
        cases.append(
            Case(
                source=NAME_VOLUMES,
                patient_id=study,
                study_id=study,
                slice_ids=tuple(f"{f}#{k + 1}" for k in stored),
                labels=labels,
                load=partial(nifti.read, image),
                licence=LICENCE_VOLUMES,
                family=FAMILY,
                overlap_keys=(f"ct-ich {patient}",),
                files=used,
            )
        )
        ledger.use(*used)
    for patient, unmatched in sorted(by_patient.items()):
        if patient not in scans:
            ledger.skip(f"{name} (patient {patient})", f"{len(unmatched)} rows and no scan")
    ledger.skip_rest("a mask without its scan, or no file of the published layout")
    notes = ["faces are blurred; labels were drawn on windowed pictures"]
    return closed(NAME_VOLUMES, folder.path, LICENCE_VOLUMES, cases, ledger, notes, FAMILY)


# ---- tables -----------------------------------------------------------------------------------------------------------

_Diagnosis = dict[str, int]


def _diagnoses(folder: Folder, expected: str) -> tuple[dict[tuple[int, int], _Diagnosis], str]:
    """(patient, slice) -> label under "any" and subtypes. Raises DataSetError."""
    both = [f for f in folder.files if f.casefold().split("/")[-1] in (TABLE_PICTURES, TABLE_VOLUMES)]
    # copies of one version carry the other's table name; the version's own name goes first
    names = sorted(both, key=lambda f: not f.casefold().endswith(expected))
    if not names:
        raise DataSetError(f"ct-ich: expected {expected}; {folder.found_words()}")
    table = read_table(folder.at(names[0]), names[0])
    patient, number = table.need("PatientNumber"), table.need("SliceNumber")
    columns = {key: table.need(column) for column, key in SUBTYPES.items()}
    none = table.need("No_Hemorrhage")
    rows: dict[tuple[int, int], _Diagnosis] = {}
    for row in table.rows:
        place = (_whole(table, row, patient), _whole(table, row, number))
        try:
            told = {key: words.stated_label(row.get(c)) for key, c in columns.items()}
            free = words.stated_label(row.get(none))
        except ValueError as error:
            raise DataSetError(f"{table.name} line {row.line}: {error}") from None
        known = {k: v for k, v in told.items() if v is not None}
        if free is not None and known and free == max(known.values()):
            raise DataSetError(f"{table.name} line {row.line}: No_Hemorrhage {free}, but the subtypes say otherwise")
        if known or free is not None:
            known["any"] = max(known.values()) if known else 1 - (free or 0)
        if rows.setdefault(place, known) != known:
            raise DataSetError(
                f"{table.name} line {row.line}: patient {place[0]} slice {place[1]} has other labels further up"
            )
    return rows, names[0]


def _whole(table: Table, row: Row, column: str) -> int:
    value = words.number(row.get(column))
    if value is None or value != int(value) or value < 0:
        raise DataSetError(
            f"{table.name} line {row.line}: {table.columns[column]} {row.get(column)[:20]!r} is no number"
        )
    return int(value)


def _ages(folder: Folder) -> dict[int, float]:
    """`patient_demographics.csv`: the header of the age column holds a line break, a second header line may follow."""
    names = [f for f in folder.files if f.casefold().split("/")[-1] == "patient_demographics.csv"]
    if not names:
        return {}
    table = read_table(folder.at(names[0]), names[0])
    patient, age = table.find("Patient Number", "PatientNumber"), table.find("Age (years)", "Age")
    ages = {}
    for row in table.rows:
        number, years = words.number(row.get(patient)), words.number(row.get(age))
        if number is not None and years is not None:
            ages[int(number)] = years
    return ages


def _account_for_rows(
    rows: dict[tuple[int, int], _Diagnosis], name: str, there: set[tuple[int, int]], ledger: Ledger
) -> None:
    for patient, number in sorted(rows.keys() - there):
        ledger.skip(f"{name} (patient {patient}, slice {number})", "no picture of this slice")


def _labels(told: Sequence[_Diagnosis], age: float | None) -> Labels:
    labels = tuple(t.get("any") for t in told)
    subtypes = tuple({k: v for k, v in t.items() if k != "any"} for t in told)
    return Labels(labels, words.any_of(labels), subtypes, words.merged_subtypes(subtypes), age_years=age)
