"""A file that anybody may have made is read for its header, or refused with a reason; nothing else happens."""

from __future__ import annotations

import io
import zipfile

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from tests.journeys import modality
from triage_node.domain.errors import InstanceRefused
from triage_node.instances.loose_file import read_loose


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> bytes:
    sent = modality.phantom(tmp_path_factory.mktemp("loose"), "loose", modality.now(), slices=12, size=128)
    return sent.files[0].read_bytes()


def bomb() -> bytes:
    """A zip of 10 kB that would be 10 MB."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros.dcm", bytes(10_000_000))
    return out.getvalue()


def saved(image: bytes, syntax: str, little: bool) -> bytes:
    ds, out = pydicom.dcmread(io.BytesIO(image)), io.BytesIO()
    ds.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(out, ds, implicit_vr=False, little_endian=little, force_encoding=True)
    return out.getvalue()


def test_file_of_another_program_is_read_whatever_its_preamble_holds(tmp_path, image):
    file = tmp_path / "x"
    file.write_bytes(b"II*\0" + b"\x7f" * 124 + image[128:])
    read = read_loose(file)
    assert read.header.modality == "CT"
    assert (read.size_bytes, len(read.sha256), read.calling_ae_title) == (len(image), 64, "")


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda image: b"", "empty"),
        (lambda image: b"x", "no DICOM file"),
        (lambda image: bomb(), "no DICOM file"),
        (lambda image: image[:139], "no DICOM file"),
        (lambda image: image[:140] + b"\xff\xff\xff\xff" + image[144:], "runs over the end"),
        (lambda image: image[: len(image) // 2], "."),
        (lambda image: image.replace(pydicom.dcmread(io.BytesIO(image)).SOPInstanceUID.encode(), b"x" * 64, 1), "."),
        (lambda image: saved(image, DeflatedExplicitVRLittleEndian, True), "."),
        (lambda image: saved(image, ExplicitVRBigEndian, False), "."),
    ],
    ids=["empty", "one byte", "zip bomb", "cut", "long meta", "half", "no UID", "deflated", "big endian"],
)
def test_what_is_no_image_that_could_be_sent_is_refused_in_words(tmp_path, image, made, why):
    file = tmp_path / "x"
    file.write_bytes(made(image))
    with pytest.raises(InstanceRefused, match=why) as refused:
        read_loose(file)
    assert refused.value.reason
    assert modality.MARK not in refused.value.reason
