"""What holds for every reader: each file is used once or skipped with a reason."""

from __future__ import annotations

from pathlib import Path

from triage_node.datasets import DataSet, open_data_set


def opened(folder: Path) -> DataSet:
    data = open_data_set(folder)
    assert data.files_in == data.files_used + len(data.skipped)
    assert data.files_used == sum(len(c.files or c.slice_ids) for c in data)
    assert all(s.reason for s in data.skipped)
    for case in data:
        assert case.source == data.name
        assert case.family == data.family
        assert case.licence
    return data


def reasons(data: DataSet) -> dict[str, str]:
    return {s.name: s.reason for s in data.skipped}
