"""What counts as a head CT when only a query tells."""

from __future__ import annotations

import pytest

from triage_node.config.reconciliation import ReconciliationSettings
from triage_node.domain.archived import ArchivedSeries, ArchivedStudy
from triage_node.study.head_ct import head_series

ASKED = ReconciliationSettings(archive="pacs")


def ct(body_part: str = "", description: str = "", modality: str = "CT") -> ArchivedSeries:
    return ArchivedSeries(modality, body_part, description, "CT2")


def is_head(study: str, *series: ArchivedSeries) -> bool:
    found = head_series(ArchivedStudy("1.2", study, ("CT",)), series, ASKED.body_parts, ASKED.descriptions)
    assert found is None or found.modality == "CT"
    return found is not None


@pytest.mark.parametrize(
    ("study", "series"),
    [
        ("", [ct("HEAD")]),
        ("", [ct("CHEST"), ct("BRAIN ")]),
        ("CT SCHÄDEL nativ", [ct()]),
        ("cCT", [ct("UNKNOWN")]),
        ("", [ct("", "Head 5.0 H31s")]),
        ("Polytrauma", [ct("CHEST"), ct("HEADNECK")]),
    ],
)
def test_head_by_body_part_or_description(study, series):
    assert is_head(study, *series)


@pytest.mark.parametrize(
    ("study", "series"),
    [
        ("CT Thorax", [ct("CHEST")]),
        ("", [ct()]),
        ("CT head", []),
        ("MR head", [ct("HEAD", modality="MR")]),
        ("*", [ct("[", "?" * 10_000)]),
    ],
)
def test_no_head_and_no_ct(study, series):
    assert not is_head(study, *series)
