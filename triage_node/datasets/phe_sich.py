"""PHE-SICH-CT-IDS, spontaneous hemorrhage in the basal ganglia (figshare 23957937, doi 10.1016/j.compbiomed.2024.108342).

Two layouts: as published (NIfTI), and `shared/data/phe_sich` (80 patients as mosaics in HU, with a clot mask derived by a
rule). THE EXPERTS' MASKS ARE OEDEMA, NOT BLOOD (PAPERS.md 7.7); no patient is without hemorrhage.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from triage_node.datasets import nifti, words
from triage_node.datasets.clipped import BONE_FROM_HU
from triage_node.datasets.data_set import DataSet, Ledger, closed
from triage_node.datasets.folder import Folder
from triage_node.datasets.tables import Row, Table, read_sheet, read_table
from triage_node.domain.case import OEDEMA, Case, HeadVolume, LabelMask, Labels
from triage_node.domain.errors import CaseUnreadable, DataSetError

NAME = "phe-sich-ct-ids"
LICENCE = (
    "CC BY 4.0 per the data repository (the paper's abstract says non-commercial: treat it so); "
    "Ma D, Li C, Qiao L, Du T, Tang D, Ma Z, Grzegorzek M, Sun H, doi 10.6084/m9.figshare.23957937"
)
EXPANSION = "hematoma expansion as MedInfo.xlsx says it"
SIDE, MASK_SIDE, TILES_A_ROW = 256, 512, 8
KNOWN_SPACING_MM = {"0001": (0.5078125, 5.0)}
"""Pixel spacing at 512 and slice step; published for this patient only."""
LEAST_CLOT_PX = 48
"""Of 512 x 512: 12 mm2, below which a slice is neither positive nor negative (ML.md 2.8)."""
OTHER_BRIGHT_PX = 1000
"""With more unexplained dense pixels than that a slice is no sure negative (README of the data, 3.6)."""


def is_mosaic(folder: Folder) -> bool:
    return {"patients.csv", "slices.csv"} <= set(folder.files) and any(f.startswith("vol256/") for f in folder.files)


def published_root(folder: Folder) -> str | None:
    """The folder that holds `set` and `label` of the published NIfTI subset, with a slash at the end."""
    for f in folder.ending(".nii.gz", ".nii"):
        parts = f.split("/")
        if len(parts) >= 3 and parts[-2] == "set" and ("nifit" in f.casefold() or "nifti" in f.casefold()):
            return "/".join(parts[:-2]) + "/"
    return None


# ---- as published -----------------------------------------------------------------------------------------------------


def open_published(folder: Folder) -> DataSet:
    """`.../NIFIT/{set,label}/0001.nii.gz` and MedInfo.xlsx (age, sex, expansion) where it is there."""
    root = published_root(folder)
    assert root is not None
    ledger = Ledger()
    ledger.see(*(f for f in folder.files if f.casefold().endswith((*nifti.SUFFIXES, ".png", ".xml", ".jpg"))))
    facts, notes = _medical_facts(folder)
    cases = []
    for f in folder.ending(*nifti.SUFFIXES):
        if not f.startswith(f"{root}set/"):
            continue
        name = Path(f).name
        patient = name.split(".")[0]
        label = f"{root}label/{name}"
        image, mask = folder.at(f), folder.at(label)
        try:
            shape = nifti.check(image)
            if label not in folder.files:
                raise CaseUnreadable(f"no mask {label}")
            if nifti.check(mask) != shape:
                raise CaseUnreadable("image and mask have different sizes")
        except CaseUnreadable as error:
            ledger.skip(f, str(error))
            continue
        known = facts.get(patient.lstrip("0"), {})
        cases.append(
            Case(
                source=NAME,
                patient_id=patient,
                study_id=patient,
                slice_ids=(f,),
                labels=Labels(
                    study_label=1,
                    study_subtypes={"iph": 1},
                    mask=LabelMask({1: OEDEMA}, partial(nifti.read_mask, mask, image, (1,))),
                    age_years=words.number(known.get("age", "")),
                    expansion=_yes_no(known.get("he", "")),
                    expansion_meaning=EXPANSION,
                    clinical=dict(known),
                ),
                load=partial(nifti.read, image),
                sex=words.sex(known.get("sex", "")),
                licence=LICENCE,
                family=NAME,
                files=(f, label),
            )
        )
        ledger.use(f, label)
    ledger.skip_rest("not the NIfTI scans and masks (the other subsets hold the same scans)")
    return closed(NAME, folder.path, LICENCE, cases, ledger, notes)


def _medical_facts(folder: Folder) -> tuple[dict[str, dict[str, str]], list[str]]:
    sheets = [f for f in folder.ending(".xlsx") if "medinfo" in f.casefold()]
    if not sheets:
        return {}, ["no MedInfo.xlsx: age, sex and expansion are not known"]
    table = read_sheet(folder.at(sheets[0]))
    key = table.need("id", "number", "no", "patient", "patient id", "name", "index", "serial number")
    wanted = {
        "age": table.find("age", "age years"),
        "sex": table.find("sex", "gender"),
        "he": table.find("he", "hematoma expansion", "haematoma expansion", "hematoma enlargement", "expansion"),
        "site": table.find("site", "location", "position", "bleeding site"),
    }
    missing = [k for k, c in wanted.items() if c is None]
    notes = [f"{table.name}: no column for {', '.join(missing)}"] if missing else []
    facts: dict[str, dict[str, str]] = {}
    for row in table.rows:
        patient = row.get(key).removesuffix(".0").split(".")[0].lstrip("0")
        told = {k: row.get(c) for k, c in wanted.items() if row.get(c)}
        if facts.setdefault(patient, told) != told:
            raise DataSetError(f"{table.name} line {row.line}: patient {patient} stands there twice and differently")
    return facts, notes


def _yes_no(text: str) -> int | None:
    try:
        return words.stated_label(text)
    except ValueError:
        return None


# ---- mosaics ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Mosaic:
    """One patient's files. hu_low, hu_high: the window outside of which nothing is known."""

    volume: Path
    mask: Path
    slices: int
    hu_low: float
    hu_high: float
    spacing_mm: float | None
    step_mm: float | None

    def read(self) -> HeadVolume:
        tiles = _tiles(self.volume, SIDE, self.slices)
        hu = tiles.astype(np.float32) + self.hu_low
        hu[tiles >= round(self.hu_high - self.hu_low)] = max(self.hu_high, BONE_FROM_HU)
        along = None if self.step_mm is None else np.arange(self.slices) * self.step_mm
        return HeadVolume(
            is_hu=True,
            hu=np.rint(hu).astype(np.int16),
            pixel_spacing_mm=None if self.spacing_mm is None else (self.spacing_mm, self.spacing_mm),
            positions_mm=along,
            thickness_mm=None if self.step_mm is None else np.full(self.slices, self.step_mm),
            hu_range=(self.hu_low, self.hu_high),
        )

    def read_mask(self) -> tuple[NDArray[np.uint8], ...]:
        """At the volume's 256: a value that fills half of the 2 x 2 pixels, clot before oedema."""
        fine = _tiles(self.mask, MASK_SIDE, self.slices).reshape(self.slices, SIDE, 2, SIDE, 2)
        clot, any_mark = (fine == 2).sum(axis=(2, 4)) >= 2, (fine > 0).sum(axis=(2, 4)) >= 2
        return tuple(np.where(clot, 2, any_mark).astype(np.uint8))


def open_mosaics(folder: Folder) -> DataSet:
    """`patients.csv`, `slices.csv`, `vol256/ID.webp`, `mask512/ID.png`.

    A slice is positive from 12 mm2 of derived clot on; unknown with oedema alone, beside a marked slice, or with much
    unexplained density; else negative.
    """
    patients = read_table(folder.at("patients.csv"), "patients.csv")
    slices = read_table(folder.at("slices.csv"), "slices.csv")
    for column in ("patient", "slices", "window_width", "hu_low"):
        patients.need(column)
    labels = _slice_labels(slices)
    ledger = Ledger()
    ledger.see(*folder.ending(".webp", ".png"))
    cases: list[Case] = []
    for row in patients.rows:
        patient = row.get("patient")
        volume, mask = f"vol256/{patient}.webp", f"mask512/{patient}.png"
        missing = [f for f in (volume, mask) if f not in folder.files]
        try:
            if missing:
                raise CaseUnreadable(f"no {missing[0]}")
            mosaic = _mosaic(folder, patients, row, volume, mask)
            if len(labels[patient]) != mosaic.slices:
                raise CaseUnreadable(f"{len(labels[patient])} rows in slices.csv for {mosaic.slices} slices")
        except CaseUnreadable as error:
            present = [f for f in (volume, mask) if f in folder.files]
            for f in present or [f"patients.csv line {row.line} ({patient})"]:
                ledger.skip(f, str(error))
            continue
        cases.append(
            Case(
                source=NAME,
                patient_id=patient,
                study_id=patient,
                slice_ids=tuple(f"{patient}/{i}" for i in range(mosaic.slices)),
                labels=Labels(
                    slice_labels=labels[patient],
                    study_label=1,
                    study_subtypes={"iph": 1},
                    mask=LabelMask({1: OEDEMA, 2: "ich"}, mosaic.read_mask, silver=True),
                ),
                load=mosaic.read,
                thickness_mm=mosaic.step_mm,
                licence=LICENCE,
                family=NAME,
                files=(volume, mask),
            )
        )
        ledger.use(volume, mask)
    ledger.skip_rest("the same scans at 512 pixels, or not named in patients.csv")
    notes = [
        "HU are clipped to the window of the source; pixel spacing is known for one patient",
        "blood masks were derived by a rule from density and the experts' oedema: no Dice against them is clinical accuracy",
        "every patient has a hemorrhage: nothing about specificity per study can be learnt here",
    ]
    return closed(NAME, folder.path, LICENCE, cases, ledger, notes)


def _mosaic(folder: Folder, table: Table, row: Row, volume: str, mask: str) -> _Mosaic:
    told = {c: words.number(row.get(c)) for c in ("slices", "windowwidth", "hulow")}
    if None in told.values() or not 0 < (told["slices"] or 0) <= 1000:
        raise DataSetError(f"{table.name} line {row.line}: slices, window_width and hu_low must be numbers")
    low, width = float(told["hulow"] or 0), float(told["windowwidth"] or 0)
    spacing, step = KNOWN_SPACING_MM.get(row.get("patient"), (None, None))
    spacing = None if spacing is None else spacing * MASK_SIDE / SIDE
    n = int(told["slices"] or 0)
    for name, side in ((volume, SIDE), (mask, MASK_SIDE)):
        rows, columns = _size(folder.at(name))
        if columns != side * TILES_A_ROW or rows % side or rows // side * TILES_A_ROW < n:
            raise CaseUnreadable(f"{name}: {columns} x {rows} pixels do not hold {n} tiles of {side} in rows of 8")
    return _Mosaic(folder.at(volume), folder.at(mask), n, low, low + width, spacing, step)


def _slice_labels(table: Table) -> dict[str, tuple[int | None, ...]]:
    columns = {c: table.need(c) for c in ("patient", "slice", "phe_px", "haem_px_derived", "other_bright_px")}
    rows: defaultdict[str, dict[int, tuple[float, float, float]]] = defaultdict(dict)
    for row in table.rows:
        told = [words.number(row.get(columns[c])) for c in ("slice", "phe_px", "haem_px_derived", "other_bright_px")]
        if None in told:
            raise DataSetError(f"{table.name} line {row.line}: a count that is no number")
        index, phe, clot, bright = (t or 0.0 for t in told)
        rows[row.get(columns["patient"])][int(index)] = (phe, clot, bright)
    labels: defaultdict[str, tuple[int | None, ...]] = defaultdict(tuple)
    for patient, by_index in rows.items():
        ordered = [by_index[i] for i in sorted(by_index)]
        marked = [phe > 0 or clot > 0 for phe, clot, _ in ordered]
        told_labels: list[int | None] = []
        for i, (_, clot, bright) in enumerate(ordered):
            unsure = any(marked[max(0, i - 1) : i + 2]) or bright > OTHER_BRIGHT_PX
            told_labels.append(1 if clot >= LEAST_CLOT_PX else None if unsure else 0)
        labels[patient] = tuple(told_labels)
    return labels


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size[1], image.size[0]
    except Exception as error:
        raise CaseUnreadable(f"{path.name}: cannot be read as a picture ({str(error)[:80]})") from error


def _tiles(path: Path, side: int, n: int) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            picture = np.array(image)
    except Exception as error:
        raise CaseUnreadable(f"{path.name}: cannot be read as a picture ({str(error)[:80]})") from error
    picture = picture[..., 0] if picture.ndim == 3 else picture
    rows = picture.shape[0] // side
    tiles = picture.reshape(rows, side, TILES_A_ROW, side).transpose(0, 2, 1, 3)
    return tiles.reshape(rows * TILES_A_ROW, side, side)[:n].astype(np.uint8)
