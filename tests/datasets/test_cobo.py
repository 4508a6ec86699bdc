from __future__ import annotations

from pathlib import Path

import pytest

from tests.datasets.accounts import opened, reasons
from tests.support.tiny_data import head_hu, write_nifti
from triage_node.datasets import open_data_set
from triage_node.domain.errors import DataSetError

HEADER = "PatientID,Label,Gender,Age,GCS,Tº,Dyastolic_AP,Anticoagulant"


def write_cobo(folder: Path, rows: tuple[str, ...]) -> None:
    for name, outcome in (("1", "GOOD"), ("2", "POOR"), ("213", "POOR"), ("9", "POOR")):
        (folder / f"{outcome}_PROGNOSIS").mkdir(exist_ok=True)
        write_nifti(folder / f"{outcome}_PROGNOSIS" / f"{name}_brain.nii.gz", head_hu().clip(0))
    (folder / "CLINICAL_DATA_ICH.csv").write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")


ROWS = ("1,0,M,61,15,36.5,80,0", "2,1,F,83,7,37.0,95,1", "7,1,F,70,9,36.0,70,0", "213,1,M,50,3,36.0,70,0")


def test_outcome_gcs_age_and_the_rest_are_read(tmp_path: Path) -> None:
    write_cobo(tmp_path, ROWS)
    data = opened(tmp_path)
    good, poor = data.cases
    assert (good.labels.outcome, poor.labels.outcome) == (0, 1)
    assert (poor.labels.gcs, poor.labels.age_years, poor.labels.study_label) == (7, 83, 1)
    assert poor.labels.clinical["Tº"] == 37.0
    assert poor.labels.clinical["Gender"] == "F"
    assert poor.labels.outcome_meaning
    assert good.load().n_slices == 4
    told = reasons(data)
    assert "left out by the authors" in told["POOR_PROGNOSIS/213_brain.nii.gz"]
    assert "does not stand in" in told["POOR_PROGNOSIS/9_brain.nii.gz"]
    assert "no scan of this patient" in told["CLINICAL_DATA_ICH.csv line 4 (7)"]


def test_folder_and_table_that_disagree_on_an_outcome_fail(tmp_path: Path) -> None:
    write_cobo(tmp_path, ("1,1,M,61,15,36.5,80,0",))
    with pytest.raises(DataSetError, match="outcome 1, but the scan lies in GOOD_PROGNOSIS"):
        open_data_set(tmp_path)


def test_a_patient_twice_and_a_missing_table_fail(tmp_path: Path) -> None:
    write_cobo(tmp_path, (*ROWS, "1,0,M,62,15,36.5,80,0"))
    with pytest.raises(DataSetError, match="patient 1 stands there twice and differently"):
        open_data_set(tmp_path)
    (tmp_path / "CLINICAL_DATA_ICH.csv").unlink()
    with pytest.raises(DataSetError, match=r"expected CLINICAL_DATA_ICH\.csv"):
        open_data_set(tmp_path)
