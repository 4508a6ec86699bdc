from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.datasets.accounts import opened, reasons
from tests.support.tiny_data import write_ct_slice
from triage_node.datasets import open_data_set
from triage_node.domain.errors import DataSetError

SUBTYPES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any")


def write_rsna(folder: Path, images: dict[str, tuple[str, str, float, set[str]]], extra: str = "") -> None:
    """name -> (patient, study, z, subtypes present), in RSNA's layout; studies and patients as `ID_...`."""
    (folder / "stage_2_train").mkdir()
    lines = ["ID,Label"]
    for name, (patient, study, z, present) in images.items():
        for k in SUBTYPES:
            lines.append(f"{name}_{k},{int(k in present or (k == 'any' and bool(present)))}")
        write_ct_slice(
            folder / "stage_2_train" / f"{name}.dcm",
            z_mm=z,
            hu=z,
            study=study,
            series=study.replace("ID", "ID_s"),
            patient=patient,
            sop=name,
        )
    (folder / "stage_2_train.csv").write_text("\n".join(lines) + "\n" + extra)


def four_slices() -> dict[str, tuple[str, str, float, set[str]]]:
    return {
        "ID_00000000a": ("ID_p1", "ID_st1", 10.0, set()),
        "ID_00000000b": ("ID_p1", "ID_st1", 0.0, {"subdural"}),
        "ID_00000000c": ("ID_p1", "ID_st1", 5.0, set()),
        "ID_00000000d": ("ID_p1", "ID_st2", 0.0, set()),
        "ID_00000000e": ("ID_p2", "ID_st3", 0.0, set()),
    }


def test_slices_are_grouped_by_header_and_sorted_by_position(tmp_path: Path) -> None:
    write_rsna(tmp_path, four_slices())
    data = opened(tmp_path)
    assert (data.name, data.family) == ("rsna-ich-2019", "rsna")
    first = next(c for c in data if c.study_id == "ID_st1")
    assert [Path(s).stem[-1] for s in first.slice_ids] == ["b", "c", "a"]
    assert first.labels.slice_labels == (1, 0, 0)
    assert first.labels.study_label == 1
    assert first.labels.study_subtypes == {"edh": 0, "iph": 0, "ivh": 0, "sah": 0, "sdh": 1}
    volume = first.load()
    assert volume.hu is not None
    np.testing.assert_array_equal(volume.hu[:, 0, 0], [0, 5, 10])
    assert {c.study_id: c.patient_id for c in data} == {"ID_st1": "ID_p1", "ID_st2": "ID_p1", "ID_st3": "ID_p2"}
    assert first.overlap_keys == ("rsna patient ID_p1", "rsna study ID_st1")


def test_rows_that_repeat_count_once_and_contradictory_ones_fail(tmp_path: Path) -> None:
    write_rsna(tmp_path, four_slices(), "ID_00000000a_epidural,0\n")
    assert "1 rows" in opened(tmp_path).notes[0]
    with (tmp_path / "stage_2_train.csv").open("a") as file:
        file.write("ID_00000000a_epidural,1\n")
    with pytest.raises(DataSetError, match="ID_00000000a_epidural has another label further up"):
        open_data_set(tmp_path)


def test_the_short_file_test_images_and_unnamed_ones_are_skipped(tmp_path: Path) -> None:
    write_rsna(tmp_path, four_slices(), "ID_0000000ff_any,0\n")
    short = tmp_path / "stage_2_train" / "ID_00000000d.dcm"
    short.write_bytes(short.read_bytes()[:-100])
    (tmp_path / "stage_2_test").mkdir()
    write_ct_slice(tmp_path / "stage_2_test" / "ID_00000000x.dcm")
    told = reasons(opened(tmp_path))
    assert "cut short" in told["stage_2_train/ID_00000000d.dcm"]
    assert told["stage_2_test/ID_00000000x.dcm"] == "the test images have no labels"
    assert told["stage_2_train.csv (ID_0000000ff)"] == "the image is not there"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,target\n", "expected the columns 'ID', 'Label'; found 'id', 'target'"),
        ("ID,Label\nsomething,1\n", "is not like ID_000012eaf_epidural,0"),
        ("ID,Label\nID_00000000a_any,2\n", "line 2"),
        ("ID,Label\nID_00000000a_any,0\nID_00000000a_epidural,1\n", "any 0, and a subtype 1"),
    ],
)
def test_a_table_of_another_form_is_refused(tmp_path: Path, text: str, words: str) -> None:
    write_rsna(tmp_path, four_slices())
    (tmp_path / "stage_2_train.csv").write_text(text)
    with pytest.raises(DataSetError, match=words):
        open_data_set(tmp_path)


def test_the_label_of_an_image_that_is_cut_short_counts_for_its_study(tmp_path: Path) -> None:
    """PAPERS.md 7.1: one image of the training set has too few pixels."""
    write_rsna(tmp_path, four_slices())
    cut = tmp_path / "stage_2_train" / "ID_00000000b.dcm"
    cut.write_bytes(cut.read_bytes()[:-99])
    first = next(c for c in opened(tmp_path) if c.study_id == "ID_st1")
    assert (first.labels.slice_labels, first.labels.study_label) == ((0, 0), 1)
    assert first.labels.study_subtypes == {"edh": 0, "iph": 0, "ivh": 0, "sah": 0, "sdh": 1}
