"""NIfTI volumes with expert masks of blood: what BHSD, INSTANCE 2022 and their like have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from triage_node.datasets import nifti, words
from triage_node.datasets.folder import Folder
from triage_node.domain.case import Case, LabelMask, Labels
from triage_node.domain.finding import SUBTYPES


def case_of(
    folder: Folder,
    image: str,
    mask: str,
    meaning: Mapping[int, str],
    *,
    source: str,
    patient: str,
    study: str,
    licence: str,
    family: str,
    overlap_keys: Sequence[str] = (),
) -> Case:
    """One volume; its mask is read once now, as it holds the labels of the slices. Raises CaseUnreadable."""
    image_path, mask_path = folder.at(image), folder.at(mask)
    load_mask = partial(nifti.read_mask, mask_path, image_path, tuple(meaning))
    values = [{int(v) for v in np.unique(one)} - {0} for one in load_mask()]
    keys = {meaning[v] for v in meaning} & set(SUBTYPES)
    per_slice = tuple({k: int(any(meaning[v] == k for v in there)) for k in sorted(keys)} for there in values)
    labels = tuple(int(bool(there)) for there in values)
    return Case(
        source=source,
        patient_id=patient,
        study_id=study,
        slice_ids=tuple(f"{image}#{i}" for i in range(len(values))),
        labels=Labels(
            labels,
            words.any_of(labels),
            per_slice if keys else (),
            words.merged_subtypes(per_slice) if keys else {},
            LabelMask(meaning, load_mask),
        ),
        load=partial(nifti.read, image_path),
        licence=licence,
        family=family,
        overlap_keys=tuple(overlap_keys),
        files=(image, mask),
    )
