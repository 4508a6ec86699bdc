from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.unpacked import ge_head, geometry_trap, philips
from tests.volume.ct import COLUMNS, ENHANCED_CT, LEGACY_CT, ROWS, along_z, decoded, enhanced, saved, stack
from triage_node.domain.errors import DuplicatePositions, MissingSlices, MixedOrientation, NotHounsfield, VolumeError
from triage_node.domain.volume import Volume
from triage_node.volume.assemble import assemble_volume
from triage_node.volume.decode import Decoder
from triage_node.volume.series_pixels import SeriesPixels


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as child:
        yield child


def volume_of(decoder: Decoder, paths: list[Path]) -> Volume:
    return assemble_volume(decoder.read_series(paths))


# real scans


def test_ge_study_has_its_three_steps_and_weights_that_sum_to_149_6_mm(decoder: Decoder) -> None:
    volume = volume_of(decoder, ge_head())
    assert np.diff(volume.positions_mm) == pytest.approx([4.0] * 13 + [1.08] + [7.0] * 13, abs=0.01)
    assert volume.slice_extent_mm.sum() == pytest.approx(149.6, abs=0.05)
    assert volume.pixel_area_mm2 == pytest.approx(0.23842, abs=1e-4)
    assert volume.slice_thickness_mm.tolist() == [4.0] * 14 + [7.0] * 14
    assert volume.normal == pytest.approx([0, 0.31730, 0.94832], abs=1e-4)
    # a column of 100 pixels through the whole scan: area x 149.6 mm, neither 154 (sum of thickness) nor 28 x 4
    mask = np.zeros(volume.hu.shape, bool)
    mask[:, 200:210, 250:260] = True
    assert volume.volume_ml(mask) == pytest.approx(100 * 0.23842 * 149.6 / 1000, rel=1e-3)


def test_ge_padding_below_air_is_air_and_tissue_is_unchanged(decoder: Decoder) -> None:
    volume = volume_of(decoder, ge_head())
    assert volume.hu.min() == -1024
    assert (volume.hu[:, 0, 0] == -1024).all()
    brain = volume.hu[14][(volume.hu[14] > 0) & (volume.hu[14] < 80)]
    assert 20 < np.median(brain) < 45


def test_tilted_stack_keeps_its_own_origin_for_each_slice(decoder: Decoder) -> None:
    """The in-plane row coordinate drifts by -1.339 mm per 4 mm step (data README 1.4)."""
    volume = volume_of(decoder, ge_head())
    drift = np.diff(volume.origins_mm @ volume.column_cosine)
    assert drift[:13] == pytest.approx([-1.339] * 13, abs=0.002)
    assert volume.to_patient_mm(27, 0, 0) == pytest.approx([-125.0, -123.540, 157.776], abs=1e-3)


@pytest.mark.parametrize(("series", "step", "slices"), [("B201", 2.371, 54), ("B301", 2.397, 58)])
def test_step_of_a_tilted_scan_is_not_its_slice_thickness(
    decoder: Decoder, series: str, step: float, slices: int
) -> None:
    """SliceThickness and SpacingBetweenSlices both say 2.5 mm (data README 2.5)."""
    volume = volume_of(decoder, philips(series))
    assert np.diff(volume.positions_mm) == pytest.approx([step] * (slices - 1), abs=0.005)
    assert volume.slice_extent_mm[1:-1] == pytest.approx([step] * (slices - 2), abs=0.005)


def test_jpeg_ls_series_gives_140_slices_of_1_mm(decoder: Decoder) -> None:
    volume = volume_of(decoder, philips("A202"))
    assert volume.hu.shape == (140, 512, 512)
    assert volume.slice_extent_mm == pytest.approx([1.0] * 140, abs=0.001)


# the four geometry traps, each by name


def test_sliceincrement_001_is_refused_as_a_missing_slice(decoder: Decoder) -> None:
    with pytest.raises(MissingSlices) as error:
        volume_of(decoder, geometry_trap("sliceincrement_001"))
    assert error.value.reason == "1 slice missing, between 28.1 and 38.1 mm"


def test_sliceincrement_002_is_refused_as_a_missing_slice(decoder: Decoder) -> None:
    with pytest.raises(MissingSlices, match="^1 slice missing, between"):
        volume_of(decoder, geometry_trap("sliceincrement_002"))


def test_gantrytilting_001_is_handled_with_its_true_step(decoder: Decoder) -> None:
    volume = volume_of(decoder, geometry_trap("gantrytilting_001"))
    assert np.diff(volume.positions_mm) == pytest.approx([4.85] * 3, abs=0.005)
    assert np.ptp(volume.origins_mm[:, :2], axis=0) == pytest.approx([0, 0], abs=1e-6)  # sheared: x and y stay


def test_notavolume_001_is_refused_as_bolus_monitoring(decoder: Decoder) -> None:
    with pytest.raises(DuplicatePositions, match="4 images at one position"):
        volume_of(decoder, geometry_trap("notavolume_001"))


# order and duplicates


@given(st.permutations(range(8)))
def test_order_of_arrival_does_not_matter(order: list[int]) -> None:
    positions = along_z(0, 5, 10, 15, 20, 25, 30, 35)
    whole = decoded(positions)
    shuffled = SeriesPixels(whole.words[order], tuple(whole.slices[i] for i in order))
    volume = assemble_volume(shuffled)
    assert volume.sop_instance_uids == tuple(f"1.2.3.9.{i}" for i in range(8))
    assert volume.hu[:, 0, 0].tolist() == [1000 + i - 1024 for i in range(8)]
    assert volume.origins_mm[:, 2].tolist() == [0, 5, 10, 15, 20, 25, 30, 35]


def test_instance_numbers_and_table_direction_do_not_decide_the_order() -> None:
    volume = assemble_volume(decoded(along_z(35, 30, 25, 20)))
    assert volume.sop_instance_uids == ("1.2.3.9.3", "1.2.3.9.2", "1.2.3.9.1", "1.2.3.9.0")
    assert (np.diff(volume.positions_mm) > 0).all()


def test_same_images_sent_twice_under_other_uids_are_used_once() -> None:
    words = np.repeat(np.arange(1000, 1004, dtype=np.uint16), 2)[:, None, None] * np.ones((8, ROWS, COLUMNS), np.uint16)
    volume = assemble_volume(decoded(along_z(0, 0, 5, 5, 10, 10, 15, 15), words))
    assert volume.hu.shape[0] == 4
    assert volume.sop_instance_uids == ("1.2.3.9.0", "1.2.3.9.2", "1.2.3.9.4", "1.2.3.9.6")
    assert volume.notes == ("4 identical images left out",)
    assert volume.slice_extent_mm.tolist() == [5, 5, 5, 5]


def test_other_images_at_the_same_positions_are_refused() -> None:
    with pytest.raises(DuplicatePositions) as error:
        assemble_volume(decoded(along_z(0, 0, 5, 5, 10, 10)))
    assert error.value.reason == (
        "3 further images at positions that already have another one, first at 0.0 mm: "
        "two acquisitions or reconstructions in one series"
    )


def test_same_words_with_another_rescale_are_another_image() -> None:
    series = decoded(along_z(0, 5, 5), np.full((3, ROWS, COLUMNS), 1000))
    other = replace(series.slices[2], rescale_intercept=-1000.0)
    with pytest.raises(DuplicatePositions):
        assemble_volume(SeriesPixels(series.words, (*series.slices[:2], other)))


# gaps


def test_missing_slices_are_refused_with_count_and_position() -> None:
    z = [5.0 * i for i in range(30) if not 10 <= i < 19]
    with pytest.raises(MissingSlices) as error:
        assemble_volume(decoded(along_z(*z)))
    assert error.value.reason == "9 slices missing, between 45.0 and 95.0 mm"


def test_mixed_steps_of_an_old_protocol_are_weighed_by_their_distances() -> None:
    series = decoded(along_z(0, 5, 10, 17.5, 27.5, 37.5))
    slices = tuple(replace(s, slice_thickness_mm=5.0 if i < 3 else 10.0) for i, s in enumerate(series.slices))
    volume = assemble_volume(SeriesPixels(series.words, slices))
    assert volume.slice_extent_mm.tolist() == [5, 5, 6.25, 8.75, 10, 10]


# orientation and matrix


@pytest.mark.parametrize("tilt", [-25.0, -18.5, 18.5, 25.0])
@pytest.mark.parametrize("sheared", [True, False])
def test_tilt_is_taken_from_positions(tilt: float, sheared: bool) -> None:
    """PEERS.md 2.5: the tilt tag's sign is unreliable; z steps of 5 mm are 5 cos(tilt) along the normal when sheared."""
    c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    orientation = (1.0, 0.0, 0.0, 0.0, float(c), float(-s))
    normal = np.array([0.0, s, c])
    places = [(0.0, 0.0, 5.0 * i) if sheared else tuple(normal * 5.0 * i) for i in range(6)]
    volume = assemble_volume(decoded(places, image_orientation_patient=orientation))
    assert np.diff(volume.positions_mm) == pytest.approx([5.0 * c if sheared else 5.0] * 5)
    # ten columns right and twenty rows down from the third origin
    expected = np.array(places[3]) + [10 * 0.45, 20 * 0.6 * c, -20 * 0.6 * s]
    assert volume.to_patient_mm(3, 20, 10) == pytest.approx(expected)


def test_rows_and_columns_are_not_swapped() -> None:
    """Row spacing 0.6 goes with growing row index (PS3.3 10.7.1.3; PEERS.md 2.5)."""
    words = np.zeros((3, ROWS, COLUMNS), np.uint16)
    words[:, 5, 9] = 2000
    volume = assemble_volume(decoded(along_z(0, 5, 10), words))
    assert volume.hu[1, 5, 9] == 976
    assert volume.to_patient_mm(1, 5, 9) == pytest.approx([-10 + 9 * 0.45, -20 + 5 * 0.6, 5])
    assert volume.volume_ml(volume.hu > 0) == pytest.approx(0.6 * 0.45 * 15 / 1000)


def test_slightly_turned_slices_are_one_volume_and_clearly_turned_ones_are_not() -> None:
    def turned(degrees: float) -> SeriesPixels:
        series = decoded(along_z(0, 5, 10))
        c, s = float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees)))
        last = replace(series.slices[2], image_orientation_patient=(c, s, 0.0, -s, c, 0.0))
        return SeriesPixels(series.words, (*series.slices[:2], last))

    assert assemble_volume(turned(0.4)).hu.shape[0] == 3
    with pytest.raises(MixedOrientation, match="0.6 degrees"):
        assemble_volume(turned(0.6))


def test_mixed_pixel_spacing_is_refused() -> None:
    series = decoded(along_z(0, 5, 10))
    zoomed = replace(series.slices[1], pixel_spacing_mm=(0.61, 0.45))
    with pytest.raises(VolumeError, match="different pixel spacing"):
        assemble_volume(SeriesPixels(series.words, (series.slices[0], zoomed, series.slices[2])))


def test_planes_seen_from_above_keep_their_pixels_and_say_so() -> None:
    volume = assemble_volume(decoded(along_z(0, 5, 10), image_orientation_patient=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)))
    assert volume.notes == ("image planes seen from above",)
    assert (np.diff(volume.positions_mm) > 0).all()
    assert volume.sop_instance_uids[0] == "1.2.3.9.2"


# Hounsfield units


def test_rescale_differs_from_slice_to_slice() -> None:
    series = decoded(along_z(0, 5, 10), np.full((3, ROWS, COLUMNS), 1000))
    rescales = [(1.0, -1024.0), (2.0, -2000.0), (0.5, -460.3)]
    slices = tuple(
        replace(s, rescale_slope=m, rescale_intercept=b) for s, (m, b) in zip(series.slices, rescales, strict=True)
    )
    assert assemble_volume(SeriesPixels(series.words, slices)).hu[:, 0, 0].tolist() == [-24, 0, 40]


@pytest.mark.parametrize(
    ("word", "bits", "signed", "padding", "hu"),
    [
        (1064, 12, False, None, 40),
        (0xF000 | 1064, 12, False, None, 40),  # overlay bits above Bits Stored
        (40 & 0xFFFF, 16, True, None, 40),
        (-1500 & 0xFFFF, 16, True, (-1500, -1500), -1024),
        (-2000 & 0xFFFF, 16, True, None, -1024),
        (0xF830, 12, False, (63536, 63536), -1024),  # -2000 in an unsigned 12-bit image, as old scanners pad
        (0xF830, 12, False, (-2000, -2000), -1024),
        (65535, 16, False, None, 3071),
        (8, 12, False, (0, 10), -1024),  # a range
        (8, 12, False, (10, 0), -1024),  # the other way round
    ],
)
def test_stored_word_becomes_hounsfield(
    word: int, bits: int, signed: bool, padding: tuple[int, int] | None, hu: int
) -> None:
    words = np.full((2, ROWS, COLUMNS), word, np.uint16)
    series = decoded(
        along_z(0, 5),
        words,
        bits_stored=bits,
        high_bit=bits - 1,
        signed=signed,
        pixel_padding=padding,
        rescale_intercept=0.0 if signed else -1024.0,
    )
    assert assemble_volume(series).hu[0, 0, 0] == hu


def test_padding_value_that_would_be_tissue_is_not_believed() -> None:
    """Pixel Padding Value 0 in an image whose 0 is water would punch holes into ventricles."""
    words = np.zeros((2, ROWS, COLUMNS), np.uint16)
    words[:, 1] = 30
    volume = assemble_volume(
        decoded(
            along_z(0, 5), words, signed=True, bits_stored=16, high_bit=15, rescale_intercept=0.0, pixel_padding=(0, 0)
        )
    )
    assert volume.hu[0, 0, 0] == 0
    assert volume.hu[0, 1, 0] == 30
    assert volume.notes == ("padding value ignored: it would be tissue",)


@pytest.mark.parametrize(
    "changes",
    [
        {"rescale_slope": None},
        {"rescale_intercept": None},
        {"rescale_slope": 0.0},
        {"rescale_slope": 1e9},
        {"rescale_intercept": -1e9},
        {"rescale_type": "US"},
        {"rescale_type": "Z_EFF"},
    ],
)
def test_what_is_not_hounsfield_is_refused(changes: dict[str, float | str | None]) -> None:
    with pytest.raises(NotHounsfield):
        assemble_volume(decoded(along_z(0, 5), **changes))


def test_lossy_input_is_labelled() -> None:
    volume = assemble_volume(decoded(along_z(0, 5), lossy=True))
    assert volume.lossy
    assert "lossy compressed input" in volume.notes


# multi-frame


@pytest.mark.parametrize("sop_class", [ENHANCED_CT, LEGACY_CT])
def test_multi_frame_is_read_through_its_functional_groups(decoder: Decoder, tmp_path: Path, sop_class: str) -> None:
    stored = np.broadcast_to(np.array([1040, 1041, 1042, 1043], np.uint16)[:, None, None], (4, ROWS, COLUMNS))
    ds = enhanced(stored, along_z(12, 8, 4, 0), sop_class)
    volume = volume_of(decoder, [saved(ds, tmp_path / "enhanced.dcm")])
    assert volume.frame_numbers == (4, 3, 2, 1)
    assert set(volume.sop_instance_uids) == {"1.2.3.9.1"}
    # stored 1040 + i with intercept -1000 - i
    assert volume.hu[:, 0, 0].tolist() == [40, 40, 40, 40]
    assert volume.slice_extent_mm.tolist() == [4, 4, 4, 4]
    assert volume.pixel_spacing_mm == (0.6, 0.45)


@pytest.mark.parametrize("group", ["PlanePosition", "PixelValueTransformation"])
def test_multi_frame_that_cannot_be_placed_is_refused(decoder: Decoder, tmp_path: Path, group: str) -> None:
    ds = enhanced(np.zeros((3, ROWS, COLUMNS), np.uint16), along_z(0, 4, 8))
    del ds.PerFrameFunctionalGroupsSequence[1][f"{group}Sequence"]
    with pytest.raises(VolumeError, match=f"without {group}"):
        volume_of(decoder, [saved(ds, tmp_path / "enhanced.dcm")])


def test_groups_that_do_not_fit_the_frames_are_refused(decoder: Decoder, tmp_path: Path) -> None:
    ds = enhanced(np.zeros((3, ROWS, COLUMNS), np.uint16), along_z(0, 4, 8))
    del ds.PerFrameFunctionalGroupsSequence[2]
    with pytest.raises(VolumeError, match="functional groups for 2 frames, 3 frames"):
        volume_of(decoder, [saved(ds, tmp_path / "enhanced.dcm")])


def test_single_frames_have_no_frame_numbers(decoder: Decoder, tmp_path: Path) -> None:
    volume = volume_of(decoder, stack(tmp_path))
    assert volume.frame_numbers == ()
    assert volume.study_instance_uid == "1.2.3"
    assert volume.series_instance_uid == "1.2.3.9"
    assert volume.frame_of_reference_uid == "1.2.3.8"


# hostile headers


@pytest.mark.parametrize(
    "changes",
    [
        {"image_orientation_patient": None},
        {"image_orientation_patient": (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)},
        {"pixel_spacing_mm": None},
        {"pixel_spacing_mm": (0.0, 0.0)},
        {"pixel_spacing_mm": (-1.0, 0.5)},
        {"pixel_spacing_mm": (500.0, 500.0)},
        {"high_bit": 15, "bits_stored": 17},
        {"high_bit": -3},
    ],
)
def test_impossible_geometry_is_refused_with_a_reason(changes: dict[str, object]) -> None:
    with pytest.raises(VolumeError) as error:
        assemble_volume(decoded(along_z(0, 5, 10), **changes))
    assert error.value.reason


def test_position_outside_of_any_scanner_is_refused() -> None:
    with pytest.raises(VolumeError, match="outside of any scanner"):
        assemble_volume(decoded(along_z(0, 5, 1e300)))


def test_too_few_images_are_refused() -> None:
    with pytest.raises(VolumeError, match="single image"):
        assemble_volume(decoded(along_z(0)))
    with pytest.raises(VolumeError, match="no images"):
        assemble_volume(SeriesPixels(np.empty((0, 4, 4), np.uint16), ()))


finite = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(finite, finite, finite), min_size=1, max_size=8), st.one_of(st.none(), finite), finite, finite
)
def test_any_numbers_make_a_volume_or_a_reason(
    places: list[tuple[float, float, float]], thickness: float | None, slope: float, intercept: float
) -> None:
    series = decoded(places, slice_thickness_mm=thickness, rescale_slope=slope, rescale_intercept=intercept)
    try:
        volume = assemble_volume(series)
    except VolumeError as error:
        reason = error.reason
    else:
        reason = ""
        assert np.isfinite(volume.slice_extent_mm).all()
    assert isinstance(reason, str)
