from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.datasets.accounts import opened, reasons
from tests.support.tiny_data import write_ct_slice
from triage_node.datasets import open_data_set
from triage_node.domain.errors import CaseUnreadable, DataSetError

READS = (
    "ICH",
    "IPH",
    "IVH",
    "SDH",
    "EDH",
    "SAH",
    "BleedLocation-Left",
    "BleedLocation-Right",
    "ChronicBleed",
    "Fracture",
    "CalvarialFracture",
    "OtherFracture",
    "MassEffect",
    "MidlineShift",
)


def write_reads(folder: Path, rows: dict[int, tuple[set[str], set[str], set[str]]]) -> None:
    """Number -> what each of the three readers saw."""
    header = ["name", "Category", *(f"R{r}:{k}" for r in (1, 2, 3) for k in READS)]
    lines = [",".join(header)]
    for number, readers in rows.items():
        lines.append(",".join([f"CQ500-CT-{number}", "B1", *(str(int(k in seen)) for seen in readers for k in READS)]))
    (folder / "reads.csv").write_text("\n".join(lines) + "\n")


def write_series(folder: Path, number: int, name: str, slices: int = 28, **tags: Any) -> Path:
    where = folder / f"CQ500CT{number} CQ500CT{number}" / "Unknown Study" / name
    where.mkdir(parents=True)
    for i in range(slices):
        write_ct_slice(
            where / f"CT{i:06d}.dcm",
            z_mm=5.0 * (slices - i),
            study=f"1.2.{number}",
            series=f"1.2.{number}.{len(name)}",
            patient=f"CQ500-CT-{number}",
            SeriesDescription=name,
            BodyPartExamined="HEAD",
            **tags,
        )
    return where


def test_the_majority_decides_and_the_plain_series_is_taken(tmp_path: Path) -> None:
    write_reads(tmp_path, {12: ({"ICH", "SDH", "MassEffect"}, {"ICH", "SDH", "IPH"}, set())})
    write_series(tmp_path, 12, "CT Plain")
    write_series(tmp_path, 12, "CT POST CONTRAST")
    write_series(tmp_path, 12, "CT BONE 5mm xx", ConvolutionKernel="BONE")
    data = opened(tmp_path)
    case = data.cases[0]
    assert case.study_id == "CQ500-CT-12"
    assert all("/CT Plain/" in s for s in case.slice_ids)
    assert case.labels.study_label == 1
    assert case.labels.study_subtypes == {"iph": 0, "ivh": 0, "sah": 0, "sdh": 1, "edh": 0}
    assert case.labels.clinical["MassEffect"] == 0.0
    told = reasons(data)
    assert len(told) == 56
    assert "contrast" in told["CQ500CT12 CQ500CT12/Unknown Study/CT POST CONTRAST/CT000000.dcm"]
    assert "bone" in told["CQ500CT12 CQ500CT12/Unknown Study/CT BONE 5mm xx/CT000000.dcm"]
    volume = case.load()
    assert volume.native is not None
    assert volume.n_slices == 28
    assert case.overlap_keys == ("cq500 12",)


def test_studies_without_a_plain_series_a_row_or_files_are_skipped(tmp_path: Path) -> None:
    write_reads(tmp_path, {1: (set(), set(), set()), 2: (set(), set(), set()), 3: (set(), set(), set())})
    write_series(tmp_path, 1, "CT Plain")
    write_series(tmp_path, 2, "CT C THIN", ContrastBolusAgent="OMNIPAQUE")
    write_series(tmp_path, 4, "CT Plain")
    data = opened(tmp_path)
    assert [c.study_id for c in data] == ["CQ500-CT-1"]
    assert data.cases[0].labels.study_label == 0
    text = " ".join(reasons(data).values())
    assert "contrast agent given (OMNIPAQUE)" in text
    assert "CQ500-CT-4 does not stand in reads.csv" in text
    assert reasons(data)["reads.csv line 4 (CQ500-CT-3)"] == "no DICOM file of this study"


def test_a_series_with_a_hole_gives_the_nodes_own_reason(tmp_path: Path) -> None:
    write_reads(tmp_path, {1: (set(), set(), set())})
    where = write_series(tmp_path, 1, "CT Plain")
    (where / "CT000010.dcm").unlink()
    with pytest.raises(CaseUnreadable, match="1 slice missing"):
        opened(tmp_path).cases[0].load()


def test_a_reader_that_lacks_columns_and_a_wrong_name_are_told(tmp_path: Path) -> None:
    write_series(tmp_path, 1, "CT Plain", 3)
    (tmp_path / "reads.csv").write_text("name,Category,R1:ICH\nCQ500-CT-1,B1,1\n")
    with pytest.raises(DataSetError, match="no column 'R1:IPH'"):
        open_data_set(tmp_path)
    write_reads(tmp_path, {1: (set(), set(), set())})
    text = (tmp_path / "reads.csv").read_text()
    (tmp_path / "reads.csv").write_text(text.replace("CQ500-CT-1", "Scan 1"))
    with pytest.raises(DataSetError, match="'Scan 1' is not like CQ500-CT-12"):
        open_data_set(tmp_path)
    write_reads(tmp_path, {1: (set(), set(), set())})
    lines = (tmp_path / "reads.csv").read_text().splitlines()
    (tmp_path / "reads.csv").write_text("\n".join([*lines, lines[1].replace("B1,0", "B1,1")]))
    with pytest.raises(DataSetError, match="twice and differently"):
        open_data_set(tmp_path)
