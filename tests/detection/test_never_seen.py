"""Scanners and heads that no training has seen, each in 50 seeded variations: an old patient without a bleed stays silent, a
plastic head is declined.

A variation is another scanner showing the same head: noise, kernel, calibration, crop and slice thickness, drawn by its seed.
Pictures are halved or quartered first, as a smaller matrix would have shown them: the network's grid has 192 pixels, and the
check for a head looks at 2 mm. All 50 take about a minute on a quiet core.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from tests.detection.real_studies import ge_volume
from tests.support.unpacked import philips
from triage_node.bundle.load import load_bundle
from triage_node.detection.ich import BloodNetDetector
from triage_node.detection.preprocess import on_grid
from triage_node.domain.errors import NotAHead
from triage_node.domain.volume import Volume
from triage_node.simulation.scanners import Scan, rescanned
from triage_node.volume.checks import check_head

BLOODNET = Path(__file__).resolve().parents[2] / "models" / "bloodnet"
VARIATIONS = 50


def variation(seed: int) -> Scan:
    rng = np.random.default_rng([seed, 0x9E7E])
    return Scan(
        kernel=float(rng.uniform(-1, 0.8)),
        noise_hu=float(rng.uniform(0, 6)),
        offset_hu=float(rng.uniform(-6, 6)),
        crop=float(rng.uniform(0, 0.08)),
        slice_mm=float(rng.choice([0.0, 0.0, 5.0, 6.0, 7.0])),
    )


def smaller(volume: Volume, factor: int) -> Volume:
    """The same slices on a matrix of so many times fewer pixels a side, averaged."""
    n, rows, columns = volume.hu.shape
    mean = volume.hu.reshape(n, rows // factor, factor, columns // factor, factor).mean(axis=(2, 4))
    spacing = tuple(mm * factor for mm in volume.pixel_spacing_mm)
    return replace(volume, hu=np.rint(mean).astype(np.int16), pixel_spacing_mm=spacing)


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(BLOODNET)


@pytest.fixture(scope="module")
def ge_answers(bundle):
    """Study and highest slice probability of the exam as it is, and of each variation."""
    detector = BloodNetDetector(bundle)
    exam = ge_volume()
    small = smaller(exam, 2)
    found = []
    for seed in range(-1, VARIATIONS):
        volume = exam if seed < 0 else rescanned(small, variation(seed), seed)
        logits = detector.read(on_grid(volume))[1][:, 0]
        found.append((detector.scoring.study(logits), float(detector.scoring.slices(logits).max())))
    return np.array(found)


def test_variations_differ_and_repeat_themselves():
    drawn = [variation(seed) for seed in range(VARIATIONS)]
    assert drawn == [variation(seed) for seed in range(VARIATIONS)]
    assert len({repr(scan) for scan in drawn}) == VARIATIONS
    assert {scan.slice_mm for scan in drawn} == {0.0, 5.0, 6.0, 7.0}


@pytest.mark.slow
def test_the_ge_exam_is_flagged_in_no_variation(bundle, ge_answers):
    point = bundle.manifest.operating_points["ich"]
    flagged = np.flatnonzero(ge_answers[:, 0] >= point.raise_probability) - 1
    assert len(flagged) == 0, (
        f"flagged as it is (-1) or in variations {flagged.tolist()}: highest {ge_answers[:, 0].max():.4f}, "
        f"threshold {point.raise_probability:.4f}"
    )


@pytest.mark.slow
def test_no_slice_of_the_ge_exam_reaches_the_slice_threshold_in_any_variation(bundle, ge_answers):
    point = bundle.manifest.operating_points["ich"]
    threshold = point.raise_probability if point.slice_probability is None else point.slice_probability
    above = np.flatnonzero(ge_answers[:, 1] >= threshold) - 1
    assert len(above) == 0, (
        f"as it is (-1) or in variations {above.tolist()}: highest slice {ge_answers[:, 1].max():.4f}, threshold {threshold:.4f}"
    )


def phantom_volume(series: str, factor: int) -> Volume:
    """A series of the plastic head, as read by pydicom, on a smaller matrix."""
    sets = [pydicom.dcmread(path) for path in philips(series)]
    sets.sort(key=lambda d: float(d.ImagePositionPatient[2]))
    n = len(sets)
    small = []
    for d in sets:
        hu = d.pixel_array.astype(np.float32) * float(d.RescaleSlope) + float(d.RescaleIntercept)
        small.append(hu.reshape(hu.shape[0] // factor, factor, hu.shape[1] // factor, factor).mean(axis=(1, 3)))
    thickness = np.full(n, float(sets[0].SliceThickness))
    return Volume(
        hu=np.rint(np.stack(small)).astype(np.int16),
        origins_mm=np.array([d.ImagePositionPatient for d in sets], float),
        row_cosine=np.array([1.0, 0.0, 0.0]),
        column_cosine=np.array([0.0, 1.0, 0.0]),
        pixel_spacing_mm=(float(sets[0].PixelSpacing[0]) * factor, float(sets[0].PixelSpacing[1]) * factor),
        slice_extent_mm=thickness,
        slice_thickness_mm=thickness,
        frame_of_reference_uid=sets[0].FrameOfReferenceUID,
        study_instance_uid=sets[0].StudyInstanceUID,
        series_instance_uid=sets[0].SeriesInstanceUID,
        sop_instance_uids=tuple(d.SOPInstanceUID for d in sets),
    )


@pytest.mark.parametrize("series", ["A201", "A202"])
def test_the_plastic_head_is_declined_in_every_variation(series):
    exam = phantom_volume(series, 4)
    passed = []
    for seed in range(-1, VARIATIONS):
        volume = exam if seed < 0 else rescanned(exam, variation(seed), seed)
        try:
            check_head(volume)
        except NotAHead:
            continue
        passed.append(seed)
    assert passed == [], f"{series} would be analysed as it is (-1) or in these variations"
