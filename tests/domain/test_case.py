from __future__ import annotations

import numpy as np
import pytest

from triage_node.domain.case import NOT_SCORED, OEDEMA, HeadVolume, LabelMask


def stack(n: int = 3) -> np.ndarray:
    return np.arange(n * 16, dtype=np.int16).reshape(n, 4, 4)


def test_a_mask_is_measured_with_spacing_and_true_slice_extents() -> None:
    head = HeadVolume(
        True,
        stack(),
        pixel_spacing_mm=(0.5, 0.5),
        positions_mm=np.array([0.0, 4.0, 10.0]),
        thickness_mm=np.array([4.0, 4.0, 6.0]),
    )
    mask = np.zeros((3, 4, 4), bool)
    mask[1, :2] = True
    # the middle slice stands for half of 4 and half of 6 mm
    assert head.volume_ml(mask) == pytest.approx(8 * 0.25 * 5.0 / 1000)
    assert HeadVolume(True, stack()).volume_ml(mask) is None


def test_as_volume_assumes_only_what_is_not_known_and_notes_it() -> None:
    volume = HeadVolume(True, stack(), pixel_spacing_mm=(0.5, 0.4)).as_volume(1.0, 5.0)
    assert volume.pixel_spacing_mm == (0.5, 0.4)
    assert volume.notes == ("slice step assumed 5 mm",)
    np.testing.assert_allclose(volume.positions_mm, [0, 5, 10])
    np.testing.assert_array_equal(volume.hu, stack())


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (HeadVolume(True, stack()), "pixel spacing"),
        (HeadVolume(True, stack(), pixel_spacing_mm=(1, 1)), "where its slices lie"),
        (HeadVolume(True, stack(1), pixel_spacing_mm=(1, 1), positions_mm=np.zeros(1)), "single slice"),
        (HeadVolume(False, grey=(np.zeros((4, 4), np.uint8),)), "no Hounsfield units"),
    ],
)
def test_as_volume_refuses_what_makes_no_volume(head: HeadVolume, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        head.as_volume()


def test_pictures_keep_their_own_sizes() -> None:
    head = HeadVolume(False, grey=(np.zeros((4, 5), np.uint8), np.zeros((7, 8), np.uint8)))
    assert head.n_slices == 2
    assert [head.slice_shape(i) for i in range(2)] == [(4, 5), (7, 8)]


@pytest.mark.parametrize(
    "fields",
    [
        {"is_hu": True},
        {"is_hu": True, "hu": np.zeros((2, 2), np.int16)},
        {"is_hu": True, "hu": np.zeros((2, 2, 2), np.uint8)},
        {"is_hu": False, "hu": np.zeros((2, 2, 2), np.int16)},
        {"is_hu": False},
        {"is_hu": False, "grey": (np.zeros((2, 2), np.float32),)},
        {"is_hu": True, "hu": np.zeros((2, 2, 2), np.int16), "positions_mm": np.zeros(3)},
    ],
)
def test_pixels_of_another_kind_are_refused(fields: dict) -> None:
    with pytest.raises(ValueError):
        HeadVolume(**fields)


def test_only_values_that_mean_blood_are_blood() -> None:
    picture = np.array([[0, 1, 2, 3, 4]], np.uint8)
    mask = LabelMask({1: OEDEMA, 2: "ich", 3: "sdh", 4: NOT_SCORED}, lambda: (picture,))
    assert mask.blood_values == (2, 3)
    np.testing.assert_array_equal(mask.blood()[0], [[False, False, True, True, False]])
    assert not LabelMask({1: OEDEMA}, lambda: (picture,)).marks_blood
