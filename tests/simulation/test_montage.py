"""The montage command writes pictures that can be looked at, and says plainly what it cannot read."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from triage_node.simulation import montage
from triage_node.simulation.phantom import head as phantom_head


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    made = phantom_head(14, 1, 20, 7.0, size=128, age_years=66)
    hu = np.clip(made.volume.hu, 0, 100).astype(np.float32)
    np.savez(
        folder / "one.npz",
        hu=hu,
        intracranial=made.truth.intracranial,
        tissue_hu=30.0,
        pixel_mm=made.volume.pixel_spacing_mm[0],
        slice_mm=7.0,
    )
    return folder


def test_one_picture_for_each_type_with_a_row_for_each_case(heads, tmp_path, capsys):
    assert montage.main(["--out", str(tmp_path), "--heads", str(heads), "--cases", "2", "--only", "edh"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["edh-thick.png", "edh-thin.png"]
    assert "edh-thick.png" in capsys.readouterr().out
    with Image.open(tmp_path / "edh-thick.png") as picture:
        assert picture.width == 3 * montage.SIDE
        pixels = np.asarray(picture)
    outline = (pixels == (255, 60, 60)).all(axis=2)
    assert outline[:, 2 * montage.SIDE :].any()
    assert not outline[:, : 2 * montage.SIDE].any()


def test_scanners_and_mimics_have_pictures_too(heads, tmp_path):
    for only, name in (("mimic-infarct", "mimic-infarct.png"), ("scanners", "scanners.png")):
        assert montage.main(["--out", str(tmp_path), "--heads", str(heads), "--cases", "1", "--only", only]) == 0
        assert (tmp_path / name).stat().st_size > 1000


def test_heads_that_cannot_be_read_are_named(tmp_path, capsys):
    assert montage.main(["--out", str(tmp_path / "out"), "--heads", str(tmp_path)]) == 2
    assert "no npz files" in capsys.readouterr().err
    np.savez(tmp_path / "bad.npz", hu=np.zeros((2, 8, 8)))
    assert montage.main(["--out", str(tmp_path / "out"), "--heads", str(tmp_path)]) == 2
    assert "heads cannot be read" in capsys.readouterr().err
