"""Which data set is this folder?"""

from __future__ import annotations

from pathlib import Path

from triage_node.datasets.data_set import DataSet
from triage_node.datasets.folder import Folder
from triage_node.datasets.plain import open_plain
from triage_node.domain.errors import DataSetError


def open_data_set(folder: Path | str) -> DataSet:
    """Open a folder of labelled head CTs; pixels are read when a case is loaded.

    Raises DataSetError with what was expected and what was found when the folder fits no known layout.
    """
    path = Path(folder)
    if not path.is_dir():
        raise DataSetError(f"{path}: no such folder")
    return open_plain(Folder(path))
