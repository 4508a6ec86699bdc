"""BHSD (Wu 2023): 192 volumes of RSNA 2019 with masks of five subtypes. Names carry RSNA's patient and study."""

from __future__ import annotations

import re

from triage_node.datasets import masked_volumes
from triage_node.datasets.data_set import DataSet, Ledger, closed
from triage_node.datasets.folder import Folder
from triage_node.domain.errors import CaseUnreadable

NAME, FAMILY = "bhsd", "rsna"
LICENCE = "MIT on one card, non-commercial without derivatives in the official repository: the stricter holds"
MEANING = {1: "edh", 2: "iph", 3: "ivh", 4: "sah", 5: "sdh"}
VOLUME = re.compile(r"ID_([0-9a-z]{6,12})_ID_([0-9a-z]{6,12})(?:\.nii(?:\.gz)?)?$", re.IGNORECASE)
MASKS = re.compile(r"(ground.?truth|label|mask|gt|segmentation)s?$", re.IGNORECASE)


def fits(folder: Folder) -> bool:
    return any(VOLUME.search(f) for f in folder.files)


def open_bhsd(folder: Folder) -> DataSet:
    """Images and masks of one name, masks in a folder `ground truths` (or label, mask); endings may be missing."""
    ledger = Ledger()
    images: dict[str, str] = {}
    masks: dict[str, str] = {}
    for f in folder.files:
        found = VOLUME.search(f)
        if found is None:
            continue
        ledger.see(f)
        parent = f.split("/")[-2] if "/" in f else ""
        place = masks if MASKS.search(parent) else images
        key = found[0].split(".")[0]
        if key in place:
            ledger.skip(f, f"the same volume as {place[key]}")
        else:
            place[key] = f
    cases = []
    for key, image in images.items():
        found = VOLUME.search(key)
        assert found is not None
        if key not in masks:
            ledger.skip(image, "no mask, and the slice labels of the unlabelled part are RSNA's")
            continue
        try:
            case = masked_volumes.case_of(
                folder,
                image,
                masks[key],
                MEANING,
                source=NAME,
                patient=f"ID_{found[1]}",
                study=key,
                licence=LICENCE,
                family=FAMILY,
                overlap_keys=(f"rsna patient ID_{found[1]}", f"rsna study ID_{found[2]}"),
            )
        except CaseUnreadable as error:
            ledger.skip(image, str(error))
            ledger.skip(masks[key], str(error))
            continue
        cases.append(case)
        ledger.use(*case.files)
    ledger.skip_rest("a mask without its image")
    return closed(
        NAME, folder.path, LICENCE, cases, ledger, ["made from RSNA 2019: never across a split from it"], FAMILY
    )
