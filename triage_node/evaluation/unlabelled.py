"""Studies that nobody has labelled: a folder of DICOM files, one file, or pictures, as cases without labels."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from triage_node.datasets import dicom_slices, dicom_studies, pictures
from triage_node.datasets.data_set import Ledger
from triage_node.datasets.dicom_slices import DicomFile
from triage_node.datasets.folder import Folder
from triage_node.domain.case import Case, HeadVolume, Labels
from triage_node.domain.errors import CaseUnreadable, EvaluationError


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """`skipped`: (file or study, reason)."""

    cases: tuple[Case, ...]
    skipped: tuple[tuple[str, str], ...]


def open_unlabelled(path: Path) -> Unlabelled:
    """Every study in a folder of DICOM files, of each the series that the node would analyse; else the pictures as one study.

    Raises EvaluationError when there is nothing to read, with what was found.
    """
    if path.is_file():
        return Unlabelled((_one_file(path),), ())
    if not path.is_dir():
        raise EvaluationError(f"{path}: no such file or folder")
    folder, ledger = Folder(path), Ledger()
    by_study: defaultdict[str, list[DicomFile]] = defaultdict(list)
    for file in dicom_studies.read_all(folder, ledger):
        by_study[file.header.study_instance_uid].append(file)
    cases, lost = [], []
    for study, files in by_study.items():
        try:
            cases.append(_case(study, dicom_studies.choose(study, files, ledger)))
        except CaseUnreadable as error:
            lost.append((study, str(error)))
            for file in files:
                ledger.skip(file.name, str(error))
        else:
            ledger.use(*cases[-1].slice_ids)
    if by_study:
        return Unlabelled(tuple(cases), (*((s.name, s.reason) for s in ledger.skipped()), *lost))
    shown = sorted(folder.ending(*pictures.SUFFIXES), key=_natural)
    if not shown:
        reasons = [s.reason for s in ledger.skipped()]
        why = f"; {reasons[0]}" if reasons else ""
        raise EvaluationError(
            f"{path}: no DICOM file and no picture in it that can be read ({folder.found_words()}{why})"
        )
    return Unlabelled((_of_pictures(path.name, [folder.at(name) for name in shown]),), ())


def _case(study: str, files: list[DicomFile]) -> Case:
    header = files[0].header
    patient = f"{header.issuer_of_patient_id}/{header.patient_id}" if header.patient_id else study
    return dicom_studies.case_of(
        files, Labels(), source="folder", patient=patient, study=study, licence="the site's own", family=""
    )


def _one_file(path: Path) -> Case:
    """A single slice, a multi-frame object, or a picture. Raises CaseUnreadable."""
    if not dicom_slices.is_dicom(path):
        return _of_pictures(path.stem, [path])
    file = dicom_slices.read_header(path, path.name)
    if file.header.number_of_frames > 1:
        return _case(file.header.study_instance_uid, [file])
    case = _case(file.header.study_instance_uid or path.stem, [file])
    load = partial(dicom_slices.read_stack, [file], False) if file.is_hu else partial(_dicom_picture, file)
    return replace(case, load=load, is_hu=file.is_hu)


def _dicom_picture(file: DicomFile) -> HeadVolume:
    return HeadVolume(False, grey=(dicom_slices.read_picture(file),))


def _of_pictures(name: str, paths: list[Path]) -> Case:
    return Case(
        source="folder",
        patient_id=name,
        study_id=name,
        slice_ids=tuple(p.name for p in paths),
        labels=Labels(),
        load=partial(_read_pictures, paths),
        is_hu=False,
    )


def _read_pictures(paths: list[Path]) -> HeadVolume:
    """Pictures of one size are taken for neighbours, in the order of their names; others each stand alone.

    A single 16-bit picture of HU + 1024 is read as such.
    """
    facts = [pictures.look_at(p) for p in paths]
    deep = all(f.deep and pictures.LEAST_HU_WORD < f.highest <= pictures.HIGHEST_HU_WORD for f in facts)
    same = len({(f.rows, f.columns) for f in facts}) == 1
    if deep and same:
        return HeadVolume(True, np.stack([pictures.read_hu(p) for p in paths]))
    return HeadVolume(False, grey=tuple(pictures.read_grey(p) for p in paths), contiguous=same)


def _natural(name: str) -> list[tuple[int, str]]:
    """slice_2 before slice_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d{1,12})", name.casefold())]
