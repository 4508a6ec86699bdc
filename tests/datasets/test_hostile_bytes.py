"""Whatever a file holds: an error of ours with words, or a skipped file, never anything else."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.datasets.accounts import opened
from tests.support.tiny_data import write_ct_slice, write_grey
from triage_node.datasets import open_data_set
from triage_node.datasets.tables import read_table
from triage_node.domain.errors import DataSetError

text = st.text(max_size=60)
KINDS = ("p.png", "j.jpg", "d")


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good file of each kind."""
    folder = tmp_path_factory.mktemp("healthy")
    write_grey(folder / "good.png", seed=5)
    write_grey(folder / "p.png")
    write_grey(folder / "j.jpg")
    write_ct_slice(folder / "d", hu=20)
    return folder


def words_of_refusal(path: Path, read: Callable[[Path], object]) -> str:
    """Empty when it was read."""
    try:
        read(path)
    except DataSetError as error:
        return str(error)
    return ""


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_an_error_with_words(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.csv"
        path.write_bytes(data)
        words = words_of_refusal(path, read_table)
        assert words == "" or words.startswith("labels.csv")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(text, text, text, text), min_size=1, max_size=3))
def test_any_words_in_the_cells_open_or_fail_with_words(healthy: Path, rows: list[tuple[str, str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(healthy / "good.png", folder / "a.png")
        cells = "".join(",".join('"' + c.replace('"', '""') + '"' for c in row) + "\n" for row in rows)
        table = "file,label,study,slice\na.png,1,,\n" + cells
        (folder / "labels.csv").write_text(table, encoding="utf-8", errors="replace")
        if words_of_refusal(folder, open_data_set) == "":
            opened(folder)


@settings(max_examples=25, deadline=None)
@given(
    at=st.integers(0, 2000), damage=st.binary(min_size=1, max_size=40), cut=st.booleans(), name=st.sampled_from(KINDS)
)
def test_a_damaged_file_is_used_or_skipped_and_counted(
    healthy: Path, at: int, damage: bytes, cut: bool, name: str
) -> None:
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        shutil.copy(healthy / "good.png", folder)
        whole = (healthy / name).read_bytes()
        at = at % len(whole)
        (folder / name).write_bytes(whole[:at] + damage + (b"" if cut else whole[at + len(damage) :]))
        (folder / "labels.csv").write_text(f"file,label\ngood.png,0\n{name},1\n")
        data = open_data_set(folder)
        assert [c.slice_ids[0] for c, _ in data.volumes()][0] == "good.png"
        assert data.files_in == data.files_used + len(data.skipped) == 2
