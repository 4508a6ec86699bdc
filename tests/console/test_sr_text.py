from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from triage_node.console.sr_text import sr_text


def code(value: str, meaning: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "99T", meaning
    return [item]


def content(kind: str, name: str, **more: object) -> Dataset:
    item = Dataset()
    item.ValueType = kind
    item.ConceptNameCodeSequence = code("1", name)
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return item


def write(folder: Path, *children: Dataset) -> Path:
    report = content("CONTAINER", "Imaging Measurement Report", ContentSequence=list(children))
    report.SOPClassUID, report.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.34", "2.25.1"
    report.file_meta = FileMetaDataset()
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    report.file_meta.MediaStorageSOPClassUID, report.file_meta.MediaStorageSOPInstanceUID = report.SOPClassUID, "2.25.1"
    report.save_as(folder / "sr.dcm", enforce_file_format=True)
    return folder / "sr.dcm"


def measured(value: str, unit: str) -> list[Dataset]:
    item = Dataset()
    item.NumericValue = value
    item.MeasurementUnitsCodeSequence = code(unit, unit)
    return [item]


def test_the_content_tree_is_indented_text(tmp_path):
    group = content(
        "CONTAINER",
        "Measurement Group",
        ContentSequence=[
            content("CODE", "Finding", ConceptCodeSequence=code("274100004", "Cerebral hemorrhage")),
            content("NUM", "Volume", MeasuredValueSequence=measured("34.1", "mL")),
            content("NUM", "Probability", MeasuredValueSequence=measured("0.97", "1")),
            content("NUM", "Diameter", MeasuredValueSequence=[]),
            content("UIDREF", "Tracking Unique Identifier", UID="2.25.7"),
        ],
    )
    notice = content("TEXT", "Comment", TextValue="Not for diagnostic use\r\n\x1b[31m")
    assert sr_text(write(tmp_path, notice, group)).splitlines() == [
        "Imaging Measurement Report",
        "  Comment: Not for diagnostic use [31m",
        "  Measurement Group",
        "    Finding: Cerebral hemorrhage",
        "    Volume: 34.1 mL",
        "    Probability: 0.97",
        "    Diameter: not measured",
        "    Tracking Unique Identifier: 2.25.7",
    ]


def test_a_tree_that_is_deep_or_wide_is_cut(tmp_path):
    deep = content("TEXT", "bottom", TextValue="x")
    for _ in range(40):
        deep = content("CONTAINER", "level", ContentSequence=[deep])
    wide = [content("TEXT", f"item {i}", TextValue="x") for i in range(600)]
    assert "bottom" not in sr_text(write(tmp_path, deep))
    assert len(sr_text(write(tmp_path, *wide)).splitlines()) == 400


@pytest.mark.parametrize("data", [b"", b"not DICOM", b"\0" * 128 + b"DICM" + b"\xff" * 64])
def test_what_is_no_report_has_no_text(tmp_path, data):
    file = tmp_path / "x.dcm"
    file.write_bytes(data)
    assert sr_text(file) == ""
    assert sr_text(tmp_path / "missing.dcm") == ""
