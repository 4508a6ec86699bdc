from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from tests.report import sample
from triage_node.domain.delivery import ObjectKind
from triage_node.domain.errors import ReportError
from triage_node.report.build import build_objects
from triage_node.report.read_back import read, read_report, read_segmentation, rejected_instances
from triage_node.report.sr_text import sr_as_text


def test_the_report_as_text_begins_with_what_it_is_and_says():
    (file,) = build_objects(sample.request(kinds=frozenset({ObjectKind.FINDINGS_SR})))
    lines = sr_as_text(read(file.data)).splitlines()
    assert lines[:6] == [
        "Imaging Measurement Report",
        "AI ICH triage findings (not for diagnostic use)",
        "Status: complete, preliminary, unverified",
        "Comment: Not for diagnostic use. Made by software, not read by a physician.",
        "Comment: Evidence E1: public real data, held-out patients; IPH, SDH, place, volume E0.",
        "Comment: Suspected intracranial hemorrhage, signal above the notify threshold.",
    ]
    assert "    Probability: 0.93" in lines
    assert not any("SIMULATED^ADA" in line or "SIM-1" in line for line in lines)


def test_text_of_what_is_no_report_is_empty_and_of_odd_content_never_raises():
    assert sr_as_text(Dataset()) == ""
    deep = item = Dataset()
    for _ in range(60):
        child = Dataset()
        child.ValueType, child.TextValue = "TEXT", "line \x1b[31m one"
        item.ContentSequence = [child]
        item = child
    empty = Dataset()
    empty.ValueType = "NUM"
    deep.ContentSequence.append(empty)
    text = sr_as_text(deep)
    assert "\x1b" not in text
    assert "not measured" in text
    assert text.count("line") < 20


@pytest.mark.parametrize("reader", [read, read_report, read_segmentation])
@pytest.mark.parametrize("cut", [0, 100, 140, 400])
def test_files_that_are_cut_short_are_refused_with_a_sentence(reader, cut):
    (file,) = build_objects(sample.request(kinds=frozenset({ObjectKind.FINDINGS_SR})))
    with pytest.raises(ReportError, match="not a"):
        reader(file.data[:cut])


def test_what_is_no_withdrawal_withdraws_nothing():
    (file,) = build_objects(sample.request(kinds=frozenset({ObjectKind.SUMMARY_SC})))
    assert rejected_instances(read(file.data)) == ()
