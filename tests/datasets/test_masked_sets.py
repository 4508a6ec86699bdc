"""BHSD and INSTANCE 2022: NIfTI volumes with expert masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.datasets.accounts import opened, reasons
from tests.support.tiny_data import head_hu, write_nifti
from triage_node.datasets import open_data_set
from triage_node.domain.errors import DataSetError

NAME = "ID_0af6f98e_ID_2d1c47ba57"


def write_bhsd(folder: Path, mask_value: int = 5) -> None:
    for name in ("images", "ground truths"):
        (folder / "label_192" / name).mkdir(parents=True)
    mask = np.zeros((4, 32, 32), np.uint8)
    mask[1, 10:14, 10:14] = mask_value
    mask[2, 10:12, 10:12] = 3
    write_nifti(folder / "label_192" / "images" / f"{NAME}.nii.gz", head_hu())
    write_nifti(folder / "label_192" / "ground truths" / f"{NAME}.nii.gz", mask)


def test_bhsd_masks_give_slice_labels_and_subtypes_and_names_give_rsnas_ids(tmp_path: Path) -> None:
    write_bhsd(tmp_path)
    data = opened(tmp_path)
    assert (data.name, data.family) == ("bhsd", "rsna")
    case = data.cases[0]
    assert case.patient_id == "ID_0af6f98e"
    assert case.overlap_keys == ("rsna patient ID_0af6f98e", "rsna study ID_2d1c47ba57")
    assert case.labels.slice_labels == (0, 1, 1, 0)
    assert case.labels.slice_subtypes[1] == {"edh": 0, "iph": 0, "ivh": 0, "sah": 0, "sdh": 1}
    assert case.labels.study_subtypes == {"edh": 0, "iph": 0, "ivh": 1, "sah": 0, "sdh": 1}
    assert case.labels.mask is not None
    assert case.labels.mask.meaning[5] == "sdh"
    assert "non-commercial" in case.licence


def test_bhsd_files_without_an_ending_are_read_and_broken_ones_skipped(tmp_path: Path) -> None:
    write_bhsd(tmp_path)
    for place in ("images", "ground truths"):
        where = tmp_path / "label_192" / place
        other = NAME.replace("0af6f98e", "11111111")
        (where / other).write_bytes((where / f"{NAME}.nii.gz").read_bytes())
        broken = NAME.replace("0af6f98e", "22222222")
        (where / f"{broken}.nii.gz").write_bytes((where / f"{NAME}.nii.gz").read_bytes()[:120])
    lonely = tmp_path / "label_192" / "images" / f"{NAME.replace('0af6f98e', '33333333')}.nii.gz"
    write_nifti(lonely, head_hu())
    data = opened(tmp_path)
    assert sorted(c.patient_id for c in data) == ["ID_0af6f98e", "ID_11111111"]
    np.testing.assert_array_equal(data.cases[0].load().hu, data.cases[1].load().hu)
    told = reasons(data)
    assert len(told) == 3
    assert any("cannot be read" in r or "can be read" in r for r in told.values())
    assert any("no mask" in r for r in told.values())


def test_bhsd_mask_with_an_unknown_value_is_skipped(tmp_path: Path) -> None:
    write_bhsd(tmp_path, mask_value=9)
    with pytest.raises(DataSetError, match=r"no case can be used.*value 9 means nothing; expected 0, 1, 2, 3, 4, 5"):
        open_data_set(tmp_path)


def write_instance(folder: Path) -> None:
    for name in ("data", "label"):
        (folder / "train_2" / name).mkdir(parents=True)
    mask = np.zeros((4, 32, 32), np.uint8)
    mask[2, 10:14, 10:14] = 1
    write_nifti(folder / "train_2" / "data" / "001.nii.gz", head_hu())
    write_nifti(folder / "train_2" / "label" / "001.nii.gz", mask)


def test_instance22_pairs_data_and_label(tmp_path: Path) -> None:
    write_instance(tmp_path)
    write_nifti(tmp_path / "train_2" / "data" / "002.nii.gz", head_hu())
    (tmp_path / "evaluation").mkdir()
    write_nifti(tmp_path / "evaluation" / "101.nii.gz", head_hu())
    data = opened(tmp_path)
    assert data.name == "instance22"
    assert data.cases[0].labels.slice_labels == (0, 0, 1, 0)
    assert data.cases[0].labels.study_subtypes == {}
    assert set(reasons(data)) == {"train_2/data/002.nii.gz", "evaluation/101.nii.gz"}


def test_a_mask_that_lies_elsewhere_than_its_volume_is_skipped(tmp_path: Path) -> None:
    write_instance(tmp_path)
    write_nifti(tmp_path / "train_2" / "label" / "001.nii.gz", np.zeros((4, 32, 32), np.uint8), step_mm=9.0)
    with pytest.raises(DataSetError, match="lies 12 mm apart"):
        open_data_set(tmp_path)


def test_volumes_that_are_no_hounsfield_units_are_refused(tmp_path: Path) -> None:
    write_instance(tmp_path)
    path = tmp_path / "train_2" / "data" / "001.nii.gz"
    write_nifti(path, (head_hu() + 1024).clip(0))
    data = opened(tmp_path)
    assert list(data.volumes()) == []
    assert "1000 too high" in data.skipped[0].reason
    assert data.files_in == len(data.skipped) == 2
    write_nifti(path, np.tile(np.arange(256, dtype=np.uint8)[:32], (4, 32, 1)) * 8)
    data = opened(tmp_path)
    assert list(data.volumes()) == []
    assert "8-bit grey" in data.skipped[0].reason
