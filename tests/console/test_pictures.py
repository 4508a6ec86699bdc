from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from tests.console.conftest import client_of
from tests.console.sample import ROOT, night
from triage_node.console.pictures import picture


def capture(folder: Path, pixels: np.ndarray, **more: object) -> Path:
    rows, columns, samples = pixels.shape
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "2.25.1"
    image.Rows, image.Columns, image.SamplesPerPixel = rows, columns, samples
    image.PhotometricInterpretation = "RGB" if samples == 3 else "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 8, 8, 7, 0
    if samples == 3:
        image.PlanarConfiguration = 0
    image.PixelData = pixels.tobytes()
    for keyword, value in more.items():
        setattr(image, keyword, value)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID, image.file_meta.MediaStorageSOPInstanceUID = image.SOPClassUID, "2.25.1"
    image.save_as(folder / "sc.dcm", enforce_file_format=True)
    return folder / "sc.dcm"


PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def test_a_capture_becomes_a_png_with_the_same_pixels(tmp_path):
    png = picture(capture(tmp_path, PIXELS))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), PIXELS)
    grey = picture(capture(tmp_path, PIXELS[:, :, :1]))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(grey))), PIXELS[:, :, 0])


@pytest.mark.parametrize(
    "lie", [{"Rows": 60000, "Columns": 60000}, {"Rows": 0}, {"SamplesPerPixel": 4}, {"BitsAllocated": 16}, {"Rows": 5}]
)
def test_a_header_that_does_not_hold_gives_no_picture(tmp_path, lie):
    assert picture(capture(tmp_path, PIXELS, **lie)) is None


@pytest.mark.parametrize("data", [b"", b"not DICOM"])
def test_what_is_no_capture_gives_no_picture(tmp_path, data):
    file = tmp_path / "x.dcm"
    file.write_bytes(data)
    assert picture(file) is None
    assert picture(tmp_path / "missing.dcm") is None


def test_the_study_page_shows_the_summary_picture_of_its_own_study_only(tmp_path):
    node = night()
    node.files = {"2.25.773": capture(tmp_path, PIXELS), "2.25.999": capture(tmp_path, PIXELS)}
    client = client_of(node)
    study = f"/studies/{ROOT}1001"
    assert f'src="{study}/pictures/2.25.773"' in client.get(study).text
    png = client.get(f"{study}/pictures/2.25.773")
    assert (png.status_code, png.headers["content-type"]) == (200, "image/png")
    assert client.get(f"{study}/pictures/2.25.999").status_code == 404
    assert client.get(f"{study}/pictures/../../../etc/passwd").status_code == 404


def test_a_picture_that_was_not_kept_is_not_shown():
    assert "/pictures/" not in client_of(night()).get(f"/studies/{ROOT}1001").text
