from __future__ import annotations

from pathlib import Path

import numpy as np
import openpyxl
import pytest
from PIL import Image

from tests.datasets.accounts import opened, reasons
from tests.support.data import shared_data
from tests.support.tiny_data import head_hu, write_nifti
from triage_node.datasets import open_data_set
from triage_node.domain.errors import DataSetError


def write_published(folder: Path) -> Path:
    root = folder / "SubdatasetA_NIFIT" / "NIFIT"
    for name in ("set", "label"):
        (root / name).mkdir(parents=True)
    mask = np.zeros((4, 32, 32), np.uint8)
    mask[2, 10:14, 10:14] = 1
    write_nifti(root / "set" / "0001.nii.gz", head_hu())
    write_nifti(root / "label" / "0001.nii.gz", mask)
    write_nifti(root / "set" / "0002.nii.gz", head_hu())
    png = folder / "SubdatasetC_PNG" / "set" / "image4"
    png.mkdir(parents=True)
    Image.new("L", (16, 16)).save(png / "15.png")
    book = openpyxl.Workbook()
    for row in (["ID", "Age", "Sex", "HE"], [1, 61, "M", "yes"], [2, 70, "F", "no"]):
        book.active.append(row)
    book.save(folder / "MedInfo.xlsx")
    return root


def test_published_masks_are_oedema_and_never_blood(tmp_path: Path) -> None:
    write_published(tmp_path)
    data = opened(tmp_path)
    case = data.cases[0]
    assert case.patient_id == "0001"
    assert case.labels.mask is not None
    assert not case.labels.mask.marks_blood
    assert not any(m.any() for m in case.labels.mask.blood())
    assert sum(int(m.sum()) for m in case.labels.mask.load()) == 16
    assert case.labels.slice_labels == ()
    assert (case.labels.study_label, case.labels.age_years, case.labels.expansion) == (1, 61, 1)
    told = reasons(data)
    assert "no mask" in told["SubdatasetA_NIFIT/NIFIT/set/0002.nii.gz"]
    assert "same scans" in told["SubdatasetC_PNG/set/image4/15.png"]


def test_a_broken_workbook_is_named(tmp_path: Path) -> None:
    write_published(tmp_path)
    (tmp_path / "MedInfo.xlsx").write_text("no workbook")
    with pytest.raises(DataSetError, match=r"MedInfo\.xlsx: not an Excel workbook"):
        open_data_set(tmp_path)


def write_mosaics(folder: Path, slices: int = 3) -> None:
    (folder / "vol256").mkdir()
    (folder / "mask512").mkdir()
    volume = np.zeros((256, 2048), np.uint8)
    volume[100:120, :] = np.repeat([30, 60, 120, 0, 0, 0, 0, 0], 256)
    Image.fromarray(volume).save(folder / "vol256" / "0003.webp", lossless=True)
    mask = np.zeros((512, 4096), np.uint8)
    mask[200:220, 512 + 200 : 512 + 220] = 2
    mask[200:220, 512 + 220 : 512 + 226] = 1
    Image.fromarray(mask).save(folder / "mask512" / "0003.png")
    (folder / "patients.csv").write_text(f"patient,slices,window_width,hu_low\n0003,{slices},120,-20.0\n")
    rows = ["patient,slice,source_index,phe_px,haem_px_derived,other_bright_px"]
    rows += ["0003,0,0,0,0,10", "0003,1,1,120,400,0", "0003,2,2,0,0,0"]
    (folder / "slices.csv").write_text("\n".join(rows) + "\n")


def test_mosaics_become_hu_in_slice_order_and_only_the_derived_mask_is_blood(tmp_path: Path) -> None:
    write_mosaics(tmp_path)
    case = opened(tmp_path).cases[0]
    volume = case.load()
    assert volume.hu is not None
    np.testing.assert_array_equal(volume.hu[:, 110, 100], [10, 40, 100])
    assert volume.hu_range == (-20.0, 100.0)
    assert case.labels.slice_labels == (None, 1, None)
    mask = case.labels.mask
    assert mask is not None
    assert mask.silver
    assert mask.meaning == {1: "oedema", 2: "ich"}
    assert [int(m.sum()) for m in mask.blood()] == [0, 100, 0]
    assert [int((m == 1).sum()) for m in mask.load()] == [0, 30, 0]


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("patients.csv", "patient,slices,window_width\n0003,3,120\n", "no column 'hu_low'"),
        ("patients.csv", "patient,slices,window_width,hu_low\n0003,many,120,-20\n", "must be numbers"),
        ("patients.csv", "patient,slices,window_width,hu_low\n0003,30,120,-20\n", "do not hold 30 tiles"),
        ("patients.csv", "patient,slices,window_width,hu_low\n0009,3,120,-20\n", r"no vol256/0009\.webp"),
        ("slices.csv", "patient,slice,phe_px,haem_px_derived\n", "no column 'other_bright_px'"),
    ],
)
def test_mosaics_that_do_not_fit_their_tables_are_told(tmp_path: Path, file: str, text: str, words: str) -> None:
    write_mosaics(tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(DataSetError, match=words):
        open_data_set(tmp_path)


def test_the_80_patients_at_hand_are_read_as_their_readme_says() -> None:
    data = opened(shared_data() / "phe_sich")
    assert len(data) == len(data.patients) == 80
    labels = [label for c in data for label in c.labels.slice_labels]
    assert len(labels) == 2378
    assert (labels.count(1), labels.count(0)) == (422, 1532)
    assert all(c.labels.study_label == 1 for c in data)
    case = data.cases[0]
    volume, mask = case.load(), case.labels.mask
    assert volume.hu is not None
    assert mask is not None
    assert volume.hu.shape == (32, 256, 256)
    millilitres = volume.volume_ml(np.stack(mask.blood()))
    assert millilitres == pytest.approx(6.81, rel=0.05)
    brain = volume.hu[(volume.hu > 0) & (volume.hu < 80)]
    assert 25 <= np.median(brain) <= 33
