"""Readers on the real DICOM at hand: one tilted patient, one plastic head in JPEG-LS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.datasets.accounts import opened, reasons
from tests.support.unpacked import ge_head, geometry_trap, philips


def linked(folder: Path, files: list[Path], prefix: str) -> list[str]:
    names = [f"{prefix}{i}.dcm" for i in range(len(files))]
    for name, file in zip(names, files, strict=True):
        (folder / name).symlink_to(file)
    return names


def test_the_ge_head_as_a_plain_folder_has_its_true_geometry(tmp_path: Path) -> None:
    names = linked(tmp_path, ge_head(), "ge")
    rows = "".join(f"{n},0,ge,{i}\n" for i, n in enumerate(names))
    (tmp_path / "labels.csv").write_text("file,label,study,slice\n" + rows)
    case = opened(tmp_path).cases[0]
    assert case.labels.study_label == 0
    assert case.scanner == "GE MEDICAL SYSTEMS HiSpeed Dual"
    volume = case.load()
    assert volume.native is not None
    assert volume.slice_extent_mm is not None
    assert volume.slice_extent_mm.sum() == pytest.approx(149.59, abs=0.02)
    assert volume.hu is not None
    assert volume.hu.min() == -1024
    brain = volume.hu[(volume.hu > 0) & (volume.hu < 80)]
    assert 25 <= np.median(brain) <= 45


def test_jpeg_ls_slices_are_decoded(tmp_path: Path) -> None:
    names = linked(tmp_path, philips("A202")[:12], "p")
    rows = "".join(f"{n},-1,phantom,{i}\n" for i, n in enumerate(names))
    (tmp_path / "labels.csv").write_text("file,label,study,slice\n" + rows)
    volume = opened(tmp_path).cases[0].load()
    assert volume.hu is not None
    assert volume.hu.shape == (12, 512, 512)
    assert volume.hu.min() < -900


def test_bolus_images_at_one_position_are_slices_by_their_numbers_and_no_volume(tmp_path: Path) -> None:
    names = linked(tmp_path, geometry_trap("notavolume_001"), "t")
    rows = "".join(f"{n},0,s,{i}\n" for i, n in enumerate(names))
    (tmp_path / "labels.csv").write_text("file,label,study,slice\n" + rows)
    data = opened(tmp_path)
    volume = data.cases[0].load()
    assert volume.native is None
    assert not volume.contiguous
    assert data.cases[0].slice_ids == tuple(names)


def test_a_study_that_the_node_would_refuse_is_skipped_with_its_reason(tmp_path: Path) -> None:
    linked(tmp_path, ge_head(), "ge")
    linked(tmp_path, philips("A401"), "p")
    (tmp_path / "cases.csv").write_text("study,label\nPLASTIC,0\nQMNx85rKkkg,0\n")
    data = opened(tmp_path)
    assert [c.patient_id for c in data] == ["QMNx85rKkkg"]
    assert "secondary capture" in reasons(data)["p0.dcm"]
