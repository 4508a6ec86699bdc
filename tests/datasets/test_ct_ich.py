from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.datasets.accounts import opened, reasons
from tests.support.tiny_data import head_hu, write_grey, write_nifti
from triage_node.datasets import open_data_set
from triage_node.domain.errors import CaseUnreadable, DataSetError

HEADER = (
    "PatientNumber,SliceNumber,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,No_Hemorrhage,"
    "Fracture_Yes_No"
)


def write_pictures(folder: Path) -> Path:
    """Two patients of 1.0.0: 49 with an epidural bleed in slice 2, 50 with none; a row without an image."""
    root = folder / "ct-ich-1.0.0"
    for patient in ("049", "050"):
        for window in ("brain", "bone"):
            (root / "Patients_CT" / patient / window).mkdir(parents=True)
            for k in (1, 2, 10):
                write_grey(root / "Patients_CT" / patient / window / f"{k}.jpg", size=(65, 65), seed=k)
    mask = np.zeros((65, 65), np.uint8)
    mask[20:30, 20:30] = 255
    Image.fromarray(mask).save(root / "Patients_CT" / "049" / "brain" / "2_HGE_Seg.jpg", quality=95)
    rows = ["49,1,0,0,0,0,0,1,0", "49,2,0,0,0,1,0,0,1", "49,10,0,0,0,0,0,1,0", "84,36,0,0,0,0,0,1,0"]
    rows += [f"50,{k},0,0,0,0,0,1,0" for k in (1, 2, 10)]
    (root / "hemorrhage_diagnosis.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (root / "patient_demographics.csv").write_text(
        'Patient Number,"Age\n(years)",Gender\n,,\n49,27.5,Male\n50,3,Female\n'
    )
    return root


def test_pictures_of_1_0_0_are_windowed_and_carry_their_masks(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    data = opened(tmp_path)
    assert (data.name, data.family) == ("ct-ich-1.0.0", "ct-ich")
    case = data.cases[0]
    assert not case.is_hu
    assert [Path(s).name for s in case.slice_ids] == ["1.jpg", "2.jpg", "10.jpg"]
    assert case.labels.slice_labels == (0, 1, 0)
    assert case.labels.study_subtypes == {"ivh": 0, "iph": 0, "sah": 0, "edh": 1, "sdh": 0}
    assert case.labels.age_years == 27.5
    assert case.overlap_keys == ("ct-ich 49",)
    mask = case.labels.mask
    assert mask is not None
    assert [int(m.sum()) for m in mask.blood()] == [0, 100, 0]
    assert case.load().grey[0].shape == (65, 65)
    assert data.cases[1].labels.study_label == 0
    told = reasons(data)
    assert "no picture of this slice" in told["ct-ich-1.0.0/hemorrhage_diagnosis.csv (patient 84, slice 36)"]
    assert sum("bone window" in r for r in told.values()) == 6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("49,2,0,0,0,1,0,0,1", "49,2,0,0,0,1,0,1,1"), "No_Hemorrhage 1, but the subtypes say otherwise"),
        (("50,2,0,0,0,0,0,1,0", "49,2,0,0,0,0,0,1,0"), "patient 49 slice 2 has other labels further up"),
        (("Epidural", "Epidura"), "no column 'Epidural'.*did you mean 'Epidura'"),
        (("50,1,", "fifty,1,"), "PatientNumber 'fifty' is no number"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    table = write_pictures(tmp_path) / "hemorrhage_diagnosis.csv"
    table.write_text(table.read_text().replace(*change))
    with pytest.raises(DataSetError, match=words):
        open_data_set(tmp_path)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    (write_pictures(tmp_path) / "hemorrhage_diagnosis.csv").unlink()
    with pytest.raises(DataSetError, match=r"expected hemorrhage_diagnosis\.csv"):
        open_data_set(tmp_path)


def write_volumes(folder: Path, axes: str) -> None:
    (folder / "ct_scans").mkdir()
    (folder / "masks").mkdir()
    hu = head_hu(3)
    mask = np.zeros(hu.shape, np.uint8)
    mask[0, 10:12, 10:12] = 255
    write_nifti(folder / "ct_scans" / "049.nii", hu, axes)
    write_nifti(folder / "masks" / "049.nii", mask, axes)
    lowest = 1 if axes[2] == "S" else 3
    rows = [f"49,{k},0,{int(k == lowest)},0,0,0,{int(k != lowest)},0" for k in (1, 2, 3)]
    rows += ["58,1,0,0,0,0,0,1,0"]
    (folder / "hemorrhage_diagnosis_raw_ct.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (folder / "Patient_demographics.csv").write_text("Patient Number,Age (years)\n49,30\n")


@pytest.mark.parametrize("axes", ["LPS", "RAS", "LPI"])
def test_volumes_of_1_3_1_keep_labels_with_their_slices_whatever_way_they_are_stored(tmp_path: Path, axes: str) -> None:
    write_volumes(tmp_path, axes)
    data = opened(tmp_path)
    case = data.cases[0]
    assert case.labels.slice_labels == (1, 0, 0)
    volume = case.load()
    assert volume.hu is not None
    np.testing.assert_array_equal(volume.hu[:, 16, 16], [30, 31, 32])
    assert volume.pixel_spacing_mm == pytest.approx((0.5, 0.5))
    mask = case.labels.mask
    assert mask is not None
    assert [int(m.sum()) for m in mask.blood()] == [4, 0, 0]
    assert volume.volume_ml(np.stack(mask.blood())) == pytest.approx(4 * 0.25 * 5 / 1000)
    assert case.labels.age_years == 30
    assert "1 rows and no scan" in reasons(data)["hemorrhage_diagnosis_raw_ct.csv (patient 58)"]


def test_a_scan_whose_rows_do_not_count_its_slices_is_skipped(tmp_path: Path) -> None:
    write_volumes(tmp_path, "LPS")
    for name in ("ct_scans", "masks"):
        write_nifti(tmp_path / name / "058.nii", head_hu(4))
    assert "4 slices, 1 rows" in reasons(opened(tmp_path))["ct_scans/058.nii"]


def test_a_mask_of_another_shape_and_with_unknown_values_is_refused_when_read(tmp_path: Path) -> None:
    write_volumes(tmp_path, "LPS")
    mask = opened(tmp_path).cases[0].labels.mask
    assert mask is not None
    write_nifti(tmp_path / "masks" / "049.nii", np.zeros((3, 16, 16), np.uint8))
    with pytest.raises(CaseUnreadable, match="its volume has"):
        mask.load()
    write_nifti(tmp_path / "masks" / "049.nii", np.full((3, 32, 32), 7, np.uint8))
    with pytest.raises(CaseUnreadable, match="value 7 means nothing"):
        mask.load()
