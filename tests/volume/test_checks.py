from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from tests.support.data import shared_data
from tests.support.unpacked import ge_head, philips
from triage_node.domain.errors import NoImageContent, NotAHead, NotHounsfield
from triage_node.domain.volume import Volume
from triage_node.simulation import phantom
from triage_node.simulation.scanners import phe_sich_patient
from triage_node.volume.assemble import assemble_volume
from triage_node.volume.checks import check_head, measure
from triage_node.volume.decode import Decoder


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as child:
        yield child


@pytest.fixture(scope="module")
def ge(decoder: Decoder) -> Volume:
    return assemble_volume(decoder.read_series(ge_head()))


@pytest.mark.parametrize("series", ["A201", "A202"])
def test_plastic_head_is_declined_because_its_inside_is_air(decoder: Decoder, series: str) -> None:
    volume = assemble_volume(decoder.read_series(philips(series)))
    with pytest.raises(NotAHead) as error:
        check_head(volume)
    assert error.value.reason == "not a patient's head: the inside of the skull is air"


@pytest.mark.parametrize("series", ["A203", "B201", "B301"])
def test_constant_images_are_declined_as_no_image_content(decoder: Decoder, series: str) -> None:
    volume = assemble_volume(decoder.read_series(philips(series)))
    with pytest.raises(NoImageContent, match="^no image content"):
        check_head(volume)


def test_real_head_passes(ge: Volume) -> None:
    check_head(ge)
    found = measure(ge)
    assert found.soft_ml == pytest.approx(1990, rel=0.05)
    assert found.air_inside_ml < 5


def test_patients_of_every_kind_of_window_pass() -> None:
    """Two window widths and the largest, smallest and neck-and-chest scans of phe_sich."""
    for patient in ("0001", "0038", "0078", "0133", "0161", "0163", "0164"):
        check_head(phe_sich_patient(shared_data() / "phe_sich", patient))


def test_procedural_head_passes() -> None:
    check_head(phantom.head(phantom.FIRST_DEMO_SEED, 1, size=128).volume)


@pytest.mark.parametrize("kept", [slice(0, 9), slice(18, 28)], ids=["skull base only", "vertex only"])
def test_part_of_a_head_passes(ge: Volume, kept: slice) -> None:
    check_head(part_of(ge, kept))


def test_craniectomy_passes(ge: Volume) -> None:
    """Half of the vault is taken away over the upper two thirds of the head."""
    hu = ge.hu.copy()
    half = hu[9:, :, :256]
    half[half > 100] = 30
    check_head(replace(ge, hu=hu))


def test_head_with_much_air_after_surgery_passes(ge: Volume) -> None:
    hu = ge.hu.copy()
    inside = (hu > 0) & (hu < 80)
    inside[:, 250:] = False
    hu[inside] = -1000
    check_head(replace(ge, hu=hu))


def test_stored_values_taken_as_hounsfield_are_declined(ge: Volume) -> None:
    """PAPERS.md 7.1: unsigned pixels with a wrong intercept; soft tissue then lies at 1024 and above."""
    with pytest.raises(NotHounsfield, match="about 1000 too high"):
        check_head(replace(ge, hu=(ge.hu + 1024).astype(np.int16)))


def test_hollow_shell_is_declined_whatever_it_is_made_of(ge: Volume) -> None:
    hu = ge.hu.copy()
    hu[(hu > -300) & (hu < 120)] = -1000
    with pytest.raises(NotAHead, match="air"):
        check_head(replace(ge, hu=hu))


def test_trunk_is_declined(ge: Volume) -> None:
    """An ellipse of 40 x 28 cm with a spine."""
    y, x = np.mgrid[:256, :256]
    body = ((x - 128) / 110) ** 2 + ((y - 128) / 77) ** 2 < 1
    spine = (x - 128) ** 2 + (y - 180) ** 2 < 100
    plane = np.where(spine, 400, np.where(body, 45, -1000)).astype(np.int16)
    hu = np.repeat(plane[None], len(ge.hu), axis=0)
    with pytest.raises(NotAHead, match="trunk"):
        check_head(replace(ge, hu=hu, pixel_spacing_mm=(1.8, 1.8)))


def test_air_only_is_no_head(ge: Volume) -> None:
    noise = np.random.default_rng(1).normal(-1000, 5, (28, 64, 64)).astype(np.int16)
    with pytest.raises(NotAHead, match="0 mL of soft tissue"):
        check_head(replace(ge, hu=noise, pixel_spacing_mm=(4.0, 4.0)))


def test_thin_slices_are_measured_like_thick_ones(ge: Volume) -> None:
    """1 mm slices are looked at one in three; each stands for its neighbours too."""
    times = 5
    thin = replace(
        ge,
        hu=np.repeat(ge.hu[:, ::2, ::2], times, axis=0),
        pixel_spacing_mm=(2 * ge.pixel_spacing_mm[0], 2 * ge.pixel_spacing_mm[1]),
        origins_mm=np.repeat(ge.origins_mm, times, axis=0),
        slice_extent_mm=np.repeat(ge.slice_extent_mm / times, times),
        slice_thickness_mm=np.repeat(ge.slice_thickness_mm / times, times),
        sop_instance_uids=tuple(f"1.2.{i}" for i in range(len(ge.hu) * times)),
    )
    assert measure(thin).soft_ml == pytest.approx(measure(ge).soft_ml, rel=0.03)


def part_of(volume: Volume, kept: slice) -> Volume:
    return replace(
        volume,
        hu=volume.hu[kept],
        origins_mm=volume.origins_mm[kept],
        slice_extent_mm=volume.slice_extent_mm[kept],
        slice_thickness_mm=volume.slice_thickness_mm[kept],
        sop_instance_uids=volume.sop_instance_uids[kept],
    )
