"""Files of the simulated scanner: legal CT objects, true geometry, names in every script."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest

from tests.support.data import shared_data
from triage_node.domain.errors import TriageNodeError
from triage_node.simulation import scanners
from triage_node.simulation.phantom import head

NOW = datetime(2026, 11, 21, 7, 45, 10, tzinfo=UTC)
EXAM = scanners.Exam("test", NOW, "SIM0001")
PATIENT = scanners.Patient("SIMULATED^TEST", "SIM-TEST")
DCIODVFY = Path(sys.executable).parent / "dciodvfy"


@pytest.fixture(scope="module")
def phantom():
    return head(9100, 1, 14, 10.0, size=128, gantry_tilt_deg=12.0)


def complaints(path: Path) -> list[str]:
    if not DCIODVFY.exists():
        pytest.skip("dciodvfy (package dicom3tools) is not installed")
    result = subprocess.run([DCIODVFY, "-new", str(path)], capture_output=True, text=True, timeout=60)
    return [
        line for line in (result.stdout + result.stderr).splitlines() if line.startswith(("Error", "Abort", "Warning"))
    ]


def test_every_kind_of_ct_file_passes_the_iod_check(phantom, tmp_path):
    soft = scanners.axial_series(phantom.volume, PATIENT, EXAM)
    bone = scanners.axial_series(
        scanners.sharpened(phantom.volume, 1), PATIENT, EXAM, number=3, kernel="BONE", window=(500, 2500)
    )
    contrast = scanners.axial_series(phantom.volume, PATIENT, EXAM, number=4, contrast_agent="IODINATED CONTRAST 350")
    scout = scanners.localizer(phantom.volume, PATIENT, EXAM)
    for path in scanners.write_files([soft[0], bone[3], contrast[5], scout], tmp_path):
        assert complaints(path) == []


@pytest.mark.parametrize("patient", scanners.names_in_many_scripts(), ids=lambda p: p.patient_id)
def test_names_survive_writing_and_reading_in_their_character_set(patient, phantom, tmp_path):
    data_set = scanners.axial_series(phantom.volume, patient, EXAM)[0]
    [path] = scanners.write_files([data_set], tmp_path)
    assert str(pydicom.dcmread(path).PatientName) == patient.name
    assert complaints(path) == []


def test_pixels_and_geometry_come_back_as_the_volume_had_them(phantom, tmp_path):
    volume = phantom.volume
    paths = scanners.write_files(scanners.axial_series(volume, PATIENT, EXAM), tmp_path)
    assert len(paths) == 14
    for i in (0, 7, 13):
        ds = pydicom.dcmread(paths[i])
        stored = ds.pixel_array
        seen = stored != scanners.PADDING
        hu = stored.astype(int) * int(ds.RescaleSlope) + int(ds.RescaleIntercept)
        assert np.array_equal(hu[seen], volume.hu[i][seen])
        assert not seen[0, 0]
        assert np.allclose([float(v) for v in ds.ImagePositionPatient], volume.origins_mm[i], atol=1e-4)
        assert np.allclose([float(v) for v in ds.ImageOrientationPatient][3:], volume.column_cosine, atol=1e-5)
        assert float(ds.GantryDetectorTilt) == pytest.approx(12.0, abs=1e-3)


def test_the_same_exam_gives_the_same_bytes_and_another_key_other_uids(phantom):
    a, b = (scanners.axial_series(phantom.volume, PATIENT, EXAM)[0] for _ in range(2))
    other = scanners.axial_series(phantom.volume, PATIENT, scanners.Exam("other", NOW, "SIM0002"))[0]
    assert a == b
    assert a.SOPInstanceUID != other.SOPInstanceUID
    assert a.SOPInstanceUID.startswith("2.25.")


def test_acquisition_times_are_those_asked_for_with_their_zone(phantom):
    ds = scanners.axial_series(phantom.volume, PATIENT, EXAM)[0]
    assert (ds.StudyDate, ds.StudyTime, ds.TimezoneOffsetFromUTC) == ("20261121", "074510", "+0000")
    assert ds.PatientAge == "068Y"
    assert ds.AcquisitionTime > ds.StudyTime


def test_a_compressed_transfer_syntax_is_refused_by_name(phantom):
    with pytest.raises(TriageNodeError, match=r"1\.2\.840\.10008\.1\.2\.4\.80"):
        scanners.axial_series(phantom.volume, PATIENT, EXAM, transfer_syntax="1.2.840.10008.1.2.4.80")


def test_a_real_patient_of_the_shared_data_is_written_with_what_is_assumed(tmp_path):
    folder = shared_data() / "phe_sich"
    data_sets = scanners.phe_sich_series(folder, "0013", EXAM)
    [path] = scanners.write_files(data_sets[12:13], tmp_path)
    ds = pydicom.dcmread(path)
    assert complaints(path) == []
    assert "assumed" in ds.ImageComments
    hu = ds.pixel_array.astype(int) - 1024
    assert (hu == 900).sum() > 500  # skull
    assert (hu == -1000).sum() > 5000  # surroundings
    assert 20 <= np.median(hu[(hu > 0) & (hu < 80)]) <= 45


def test_a_patient_that_is_not_there_is_named():
    with pytest.raises(TriageNodeError, match="9999"):
        scanners.phe_sich_patient(shared_data() / "phe_sich", "9999")


def stack() -> tuple[np.ndarray, np.ndarray]:
    made = head(21, 1, 20, 6.0, size=128)
    hu = np.clip(made.volume.hu, 0, 100).astype(np.float32)
    return hu, made.truth.intracranial.astype(np.uint8)


def test_a_scan_that_changes_nothing_gives_the_same_stack_and_each_setting_changes_it_reproducibly():
    hu, labels = stack()
    for name, scan in scanners.SCANS.items():
        a, b = (scanners.scanned(hu, labels, 1.9, 6.0, scan, np.random.default_rng(3)) for _ in range(2))
        assert np.array_equal(a[0], b[0]), name
        assert np.array_equal(a[1], b[1]), name
        assert np.isfinite(a[0]).all()
        assert a[0].min() >= 0
        assert a[0].max() <= 100
        assert (name == "as scanned") == (a[0].shape == hu.shape and np.array_equal(a[0], hu))


@pytest.mark.parametrize(("mm", "slices"), [(0.6, 200), (3.0, 40), (7.0, 17), (8.0, 15)])
def test_another_thickness_keeps_height_density_and_volume_of_what_is_marked(mm, slices):
    hu, labels = stack()
    out, kept, now = scanners.scanned(hu, labels, 1.9, 6.0, scanners.Scan(slice_mm=mm), np.random.default_rng(1))
    assert now == mm
    assert len(out) == len(kept) == slices
    assert out.mean() == pytest.approx(hu.mean(), rel=0.03)
    assert kept.sum() * mm == pytest.approx(labels.sum() * 6.0, rel=0.08)


def test_noise_kernel_and_offset_do_what_they_say_in_the_brain():
    hu, labels = stack()
    brain = (hu > 20) & (hu < 45)
    flat = np.where(brain, 30, hu).astype(np.float32)

    def shown(**settings):
        return scanners.scanned(flat, labels, 1.9, 6.0, scanners.Scan(**settings), np.random.default_rng(2))[0]

    assert shown(noise_hu=5.0)[brain].std() == pytest.approx(5, rel=0.45)
    assert np.median(shown(offset_hu=-6.0)[brain]) == pytest.approx(24, abs=0.5)
    edges = [np.abs(np.diff(shown(kernel=k), axis=2)).mean() for k in (-1.0, 0.0, 0.8)]
    assert edges == sorted(edges)
    assert edges[0] < edges[2]


def test_a_tilted_plane_rises_to_the_front():
    hu = np.repeat(np.arange(21, dtype=np.float32)[:, None, None], 40, axis=1).repeat(8, axis=2)
    out, _, _ = scanners.scanned(
        hu, np.zeros(hu.shape, np.uint8), 1.0, 1.0, scanners.Scan(tilt_deg=10.0), np.random.default_rng(0)
    )
    assert out[10, 0, 4] > out[10, 20, 4] > out[10, 39, 4]
    assert out[10, 0, 4] - out[10, 39, 4] == pytest.approx(39 * np.sin(np.radians(10)), abs=0.3)


def test_a_rescanned_volume_is_a_volume_with_its_own_uids_and_the_same_height(phantom):
    made = scanners.rescanned(phantom.volume, scanners.Scan(slice_mm=5.0, noise_hu=4.0, crop=0.05), 1)
    assert made.hu.shape[0] == 28
    assert made.series_instance_uid != phantom.volume.series_instance_uid
    assert np.diff(made.positions_mm) == pytest.approx(5.0)
    assert made.positions_mm[0] == pytest.approx(phantom.volume.positions_mm[0] - 2.5)
    again = scanners.rescanned(phantom.volume, scanners.Scan(slice_mm=5.0, noise_hu=4.0, crop=0.05), 1)
    assert np.array_equal(made.hu, again.hu)


def test_scanners_drawn_by_chance_are_legal_and_follow_from_the_seed():
    drawn = [scanners.drawn_scan(np.random.default_rng(s)) for s in range(60)]
    assert drawn == [scanners.drawn_scan(np.random.default_rng(s)) for s in range(60)]
    assert min(d.slice_mm for d in drawn if d.slice_mm) < 1.5
    assert max(d.slice_mm for d in drawn) == 7.0


@pytest.mark.parametrize(
    "wrong", [{"kernel": 3.0}, {"noise_hu": -1.0}, {"tilt_deg": 80.0}, {"slice_mm": 0.01}, {"crop": 0.7}]
)
def test_a_scan_that_no_scanner_makes_is_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        scanners.Scan(**wrong)
