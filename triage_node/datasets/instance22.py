"""INSTANCE 2022: 100 training volumes with binary masks (`train_2/data/001.nii.gz`, `train_2/label/001.nii.gz`)."""

from __future__ import annotations

from triage_node.datasets import masked_volumes, nifti
from triage_node.datasets.data_set import DataSet, Ledger, closed
from triage_node.datasets.folder import Folder
from triage_node.domain.errors import CaseUnreadable

NAME = "instance22"
LICENCE = "signed agreement: use in the challenge only, no redistribution"


def fits(folder: Folder) -> bool:
    return any(_pair(f) in folder.files for f in folder.ending(*nifti.SUFFIXES) if _pair(f))


def _pair(image: str) -> str:
    """The mask's name for an image in a folder `data`, else nothing."""
    parts = image.split("/")
    if len(parts) < 2 or parts[-2] != "data":
        return ""
    return "/".join([*parts[:-2], "label", parts[-1]])


def open_instance22(folder: Folder) -> DataSet:
    ledger = Ledger()
    volumes = folder.ending(*nifti.SUFFIXES)
    ledger.see(*volumes)
    cases = []
    for image in volumes:
        mask = _pair(image)
        if mask not in volumes:
            continue
        patient = image.split("/")[-1].split(".")[0]
        try:
            case = masked_volumes.case_of(
                folder,
                image,
                mask,
                {1: "ich"},
                source=NAME,
                patient=patient,
                study=patient,
                licence=LICENCE,
                family=NAME,
            )
        except CaseUnreadable as error:
            ledger.skip(image, str(error))
            ledger.skip(mask, str(error))
            continue
        cases.append(case)
        ledger.use(*case.files)
    ledger.skip_rest("an image without a mask, or a mask without its image")
    return closed(NAME, folder.path, LICENCE, cases, ledger, [])
