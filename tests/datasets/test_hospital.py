from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.datasets.accounts import opened, reasons
from tests.support.tiny_data import write_ct_slice
from triage_node.datasets import open_data_set
from triage_node.domain.errors import DataSetError


def write_study(folder: Path, name: str, study: str, slices: int = 28, series: str = "1", **tags: Any) -> None:
    where = folder / name
    where.mkdir(parents=True, exist_ok=True)
    for i in range(slices):
        write_ct_slice(
            where / f"{series}-{i}",
            z_mm=5.0 * i,
            study=study,
            series=f"{study}.{series}",
            patient=f"MRN-{name}",
            **{"AccessionNumber": f"A{study[-1]}", "PatientAge": "067Y", "BodyPartExamined": "HEAD", **tags},
        )


def test_studies_are_found_by_uid_accession_number_patient_and_folder(tmp_path: Path) -> None:
    for i, name in enumerate(("anna", "bert", "cleo", "dora")):
        write_study(tmp_path, name, f"1.2.{i}", PatientSex="F" if i < 2 else "", SoftwareVersions=["syngo", "7"])
    text = (
        "Study;Label;subtype;GCS;outcome;INR;age;sex\n1.2.0;1;SDH;9;1;2,4;;\na1;0;;15;0;;;male\nMRN-cleo;1;;;;;55;w\n"
        "dora;-1;;;;;;\n"
    )
    (tmp_path / "cases.csv").write_text(text)
    data = opened(tmp_path)
    assert data.name == "hospital"
    by_study = {c.study_id: c for c in data}
    first = by_study["1.2.0"]
    assert first.labels.study_label == 1
    assert first.labels.study_subtypes == {"sdh": 1}
    assert (first.labels.gcs, first.labels.outcome, first.labels.age_years) == (9, 1, 67)
    assert first.labels.clinical == {"INR": 2.4}
    # the table goes before the header
    assert [by_study[f"1.2.{i}"].sex for i in range(4)] == ["F", "M", "F", ""]
    assert first.software == "syngo 7"
    assert [by_study[f"1.2.{i}"].labels.study_label for i in (1, 2, 3)] == [0, 1, None]
    assert by_study["1.2.2"].labels.age_years == 55
    volume = first.load()
    assert volume.native is not None
    assert volume.native.study_instance_uid == "1.2.0"
    assert first.scanner == "GE Tiny"


def test_one_series_is_taken_and_localizer_contrast_copies_and_broken_files_say_why_not(tmp_path: Path) -> None:
    write_study(tmp_path, "anna", "1.2.0")
    write_study(tmp_path, "anna", "1.2.0", series="2", ContrastBolusAgent="Iomeron")
    write_study(tmp_path, "anna", "1.2.0", 1, series="3", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (tmp_path / "anna" / "copy").write_bytes((tmp_path / "anna" / "1-0").read_bytes())
    (tmp_path / "anna" / "cut").write_bytes((tmp_path / "anna" / "1-0").read_bytes()[:-9])
    (tmp_path / "labels.csv").write_text("study,label\n1.2.0,0\n1.2.0,0\n9.9,1\n")
    data = opened(tmp_path)
    assert all("/1-" in s for s in data.cases[0].slice_ids)
    told = reasons(data)
    assert "contrast agent given" in told["anna/2-0"]
    assert "localizer" in told["anna/3-0"].casefold()
    assert "the same instance as anna/1-0" in told["anna/copy"]
    assert "cut short" in told["anna/cut"]
    assert "the same as line 2" in told["labels.csv line 3 (1.2.0)"]
    assert "no study of this name" in told["labels.csv line 4 (9.9)"]


def test_a_labelled_study_without_a_series_to_read_is_kept_in_mind(tmp_path: Path) -> None:
    write_study(tmp_path, "anna", "1.2.0")
    for i, name in enumerate(("bert", "cleo", "dora"), start=1):
        write_study(tmp_path, name, f"1.2.{i}", 1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (tmp_path / "labels.csv").write_text("study,label\n1.2.0,0\n1.2.1,1\n1.2.2,0\n1.2.3,-1\n")
    assert sorted(opened(tmp_path).unread) == [0, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("study,label\n1.2.0,1\nanna,0\n", "stands in line 2 with other labels"),
        ("study,label\n1.2.0,perhaps\n", "line 2: label 'perhaps'"),
        ("study,label,gcs\n1.2.0,1,20\n", "GCS 20 is not a whole number from 3 to 15"),
        ("study,label\nx,1\n", "none of its 1 rows names a study"),
        ("study,label\n,1\n", "line 2: no study"),
    ],
)
def test_a_table_that_does_not_fit_is_told(tmp_path: Path, text: str, words: str) -> None:
    write_study(tmp_path, "anna", "1.2.0", 3)
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataSetError, match=words):
        open_data_set(tmp_path)


def test_two_tables_that_fit_are_one_too_many(tmp_path: Path) -> None:
    write_study(tmp_path, "anna", "1.2.0", 3)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("study,label\n1.2.0,1\n")
    with pytest.raises(DataSetError, match=r"several tables with study and label: a\.csv, b\.csv"):
        open_data_set(tmp_path)


def test_the_table_says_whose_a_study_is_and_the_images_whether_it_is_simulated(tmp_path: Path) -> None:
    for i, name in enumerate(("anna", "bert")):
        write_study(tmp_path, name, f"1.2.{i}", IssuerOfPatientID="SIMULATED" if i else "WARD")
    (tmp_path / "cases.csv").write_text("study,label,Patient ID\n1.2.0,1,P1\n1.2.1,0,P1\n")
    cases = opened(tmp_path).cases
    assert [c.patient_id for c in cases] == ["P1", "P1"]
    assert [c.simulated for c in cases] == [False, True]
    assert not cases[0].labels.clinical
