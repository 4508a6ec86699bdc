"""BloodNet on whole studies: the gates of the first model, geometry of what it returns, and what it costs."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.detection.heads import simple_head, volume_of
from tests.detection.real_studies import ge_volume
from triage_node.bundle.load import load_bundle
from triage_node.detection import ich
from triage_node.detection.ich import BloodNetDetector
from triage_node.detection.preprocess import on_grid, resampled
from triage_node.domain.errors import ManifestInvalid
from triage_node.domain.finding import SUBTYPES, Detection, Location
from triage_node.simulation.phantom import Bleed, Phantom, head
from triage_node.simulation.studies import DemoStudy, Expected, demo_studies

FOLDER = Path(__file__).resolve().parents[2] / "models" / "bloodnet"
DEMO = {s.name: s for s in demo_studies(datetime(2026, 11, 21, tzinfo=UTC)) if not s.localizer_only}


@pytest.fixture(scope="module")
def detector() -> BloodNetDetector:
    return BloodNetDetector(load_bundle(FOLDER))


@pytest.fixture(scope="module")
def raise_probability() -> float:
    return load_bundle(FOLDER).manifest.operating_points["ich"].raise_probability


@cache
def phantom_of(study: DemoStudy) -> Phantom:
    return head(
        study.anatomy_seed, noise_seed=1, slices=study.slices, slice_thickness_mm=study.slice_thickness_mm,
        age_years=study.age_years, bleeds=study.bleeds, contrast=study.contrast,
    )  # fmt: skip


@pytest.fixture(scope="module")
def large(detector) -> tuple[Phantom, Detection]:
    phantom = phantom_of(DEMO["IPH large"])
    return phantom, detector.detect(phantom.volume)


@pytest.mark.slow
@pytest.mark.parametrize("name", DEMO)
def test_demo_phantom_is_flagged_exactly_when_it_bleeds(detector, raise_probability, name):
    study = DEMO[name]
    found = detector.detect(phantom_of(study).volume)
    assert (found.study_probability >= raise_probability) is (study.expected is Expected.FLAGGED)


def test_ge_study_without_a_bleed_is_not_flagged(detector, raise_probability):
    found = detector.detect(ge_volume())
    assert found.study_probability < raise_probability
    assert found.mask.shape == found.heat.shape == (28, 512, 512)


def test_no_slice_of_the_ge_study_passes_the_slice_threshold(detector):
    point = load_bundle(FOLDER).manifest.operating_points["ich"]
    limit = point.raise_probability if point.slice_probability is None else point.slice_probability
    found = detector.detect(ge_volume())
    assert found.slice_probabilities.max() < limit


def test_large_clot_is_outlined_measured_and_placed(large):
    phantom, found = large
    truth = phantom.truth.bleed > 0
    overlap = 2 * (truth & (found.mask > 0)).sum() / (truth.sum() + (found.mask > 0).sum())
    assert overlap > 0.8
    assert found.hematoma_volume_ml == pytest.approx(phantom.truth.volumes_ml["iph"], rel=0.25)
    main = found.components[0]
    assert main.subtype == "iph"
    where = np.argwhere(truth).mean(axis=0)
    expected = phantom.volume.to_patient_mm(*where)
    assert np.linalg.norm(np.array(main.centroid_mm) - expected) < 6
    assert truth[found.key_slice_index].sum() > 0.8 * truth.sum(axis=(1, 2)).max()


def test_detection_is_one_to_one_with_the_slices_and_consistent_in_itself(large):
    phantom, found = large
    shape = phantom.volume.hu.shape
    assert found.mask.shape == found.heat.shape == shape
    assert found.mask.dtype == found.heat.dtype == np.uint8
    assert found.slice_probabilities.shape == (shape[0],)
    assert ((found.slice_probabilities >= 0) & (found.slice_probabilities <= 1)).all()
    assert set(found.subtype_probabilities) == set(SUBTYPES)
    assert sorted(np.unique(found.mask))[1:] == [c.label for c in found.components]
    assert sum(c.volume_ml for c in found.components) == pytest.approx(phantom.volume.volume_ml(found.mask > 0))
    assert found.heat[found.mask > 0].min() >= 126
    assert found.slice_probabilities[found.key_slice_index] > 0.5


def test_same_volume_gives_the_same_detection(detector, large):
    phantom, first = large
    again = detector.detect(phantom.volume)
    assert again.study_probability == first.study_probability
    assert np.array_equal(again.mask, first.mask)
    assert again.components == first.components


def test_thin_slices_map_back_to_the_original_slices(detector):
    study = dataclasses.replace(DEMO["IPH large"], slices=150, slice_thickness_mm=1.0)
    phantom = head(
        study.anatomy_seed, 1, 150, 1.0, size=256, age_years=study.age_years, bleeds=study.bleeds, noise_hu=6.0
    )
    found = detector.detect(phantom.volume)
    truth = phantom.truth.bleed > 0
    assert found.mask.shape == truth.shape
    assert found.hematoma_volume_ml == pytest.approx(phantom.truth.volumes_ml["iph"], rel=0.3)
    assert 2 * (truth & (found.mask > 0)).sum() / (truth.sum() + (found.mask > 0).sum()) > 0.75


@pytest.mark.parametrize("value", [-1024, 0, 30, 3071])
def test_constant_picture_is_read_without_an_error_and_without_a_mask(detector, raise_probability, value):
    found = detector.detect(volume_of(np.full((4, 64, 64), value, np.int16)))
    assert found.study_probability < raise_probability
    assert found.mask.shape == (4, 64, 64)


def test_noise_single_slices_and_odd_sizes_are_read_without_an_error(detector):
    noise = np.random.default_rng(0).integers(-1024, 3071, (3, 40, 77)).astype(np.int16)
    assert detector.detect(volume_of(noise)).mask.shape == (3, 40, 77)
    assert detector.detect(volume_of(simple_head()[15:16])).slice_probabilities.shape == (1,)


def test_bundle_of_another_preprocessing_is_refused_at_construction(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "bundle", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    path = tmp_path / "bundle" / "configs" / "metadata.json"
    manifest = json.loads(path.read_text())
    manifest["preprocessing"]["hu_clip"] = [-100, 100]
    path.write_text(json.dumps(manifest))
    with pytest.raises(ManifestInvalid, match="trained for preprocessing"):
        BloodNetDetector(load_bundle(tmp_path / "bundle"))


def test_detection_runs_in_a_process_without_torch_and_monai_in_half_a_gigabyte():
    script = f"""
import resource, sys
sys.modules["torch"] = None
sys.modules["monai"] = None
from pathlib import Path
from tests.detection.heads import simple_head, volume_of
from triage_node.bundle.load import load_bundle
from triage_node.detection import ich
from triage_node.detection.ich import BloodNetDetector
from triage_node.detection.preprocess import on_grid, resampled
volume = volume_of(simple_head(140, 1.0, 512), 1.0, 0.45)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = BloodNetDetector(load_bundle(Path({str(FOLDER)!r}))).detect(volume_of(volume.hu[:, ::1], 1.0, 0.45))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(found.mask.shape[0], (after - before) // 1024)
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root, timeout=120)
    assert done.returncode == 0, done.stderr
    slices, grown_mb = (int(v) for v in done.stdout.split())
    assert slices == 140
    assert grown_mb < 512


@pytest.mark.parametrize("turned", ["columns", "rows"])
def test_a_bleed_has_its_place_whichever_end_of_the_head_the_series_begins_at(turned):
    """-1\\0\\0\\0\\1\\0 and 1\\0\\0\\0\\-1\\0 are legal: the normal points down, and slice 0 is the vertex."""
    made = head(9001, 1, slices=32, size=128, bleeds=(Bleed("iph", 12.0, (20.0, 55.0, -38.0)),), noise_hu=2.0)
    volume, blood = made.volume, made.truth.bleed > 0
    if turned == "columns":
        way = volume.row_cosine * (volume.hu.shape[2] - 1) * volume.pixel_spacing_mm[1]
        axes, said = (0, 2), {"row_cosine": -volume.row_cosine}
    else:
        way = volume.column_cosine * (volume.hu.shape[1] - 1) * volume.pixel_spacing_mm[0]
        axes, said = (0, 1), {"column_cosine": -volume.column_cosine}
    other = dataclasses.replace(
        volume, hu=np.flip(volume.hu, axes), origins_mm=(volume.origins_mm + way)[::-1].copy(), **said,
        slice_extent_mm=volume.slice_extent_mm[::-1].copy(), slice_thickness_mm=volume.slice_thickness_mm[::-1].copy(),
        sop_instance_uids=volume.sop_instance_uids[::-1],
    )  # fmt: skip
    assert other.normal[2] < 0

    def place(seen, mask):
        grid = on_grid(seen)
        piece = np.stack([resampled(image.astype(np.float32), grid.square) > 0.5 for image in mask])
        return ich._location(seen, grid, piece, "iph")

    assert place(volume, blood) is Location.INFRATENTORIAL
    assert place(other, np.flip(blood, axes)) is Location.INFRATENTORIAL
