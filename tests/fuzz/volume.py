"""What the decoding child does with a file: header, geometry, and its frames through the real decoders, in this process."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import resources
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import UID

from tests.fuzz import corpus
from triage_node.domain.errors import VolumeError
from triage_node.volume import codecs
from triage_node.volume.read_instance import PixelDigest, decode_frames, open_instance, slice_headers

LONGEST = 1 << 16
ANSWERED = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, InvalidDicomError, LookupError, OSError),
    *(RuntimeError, TypeError, ValueError, struct.error, BytesLengthException),
)
"""What damaged files make the library raise: the child answers these too, and its successor takes its place."""


def seeds() -> Iterator[bytes]:
    """Beside the collections a 16 x 16 image in every transfer syntax that is offered."""
    yield from corpus.small(LONGEST)
    text = resources.files("triage_node.volume").joinpath("self_test_images.json").read_text(encoding="ascii")
    for image in json.loads(text):
        yield _instance(image["transfer_syntax_uid"], base64.b64decode(image["stream"]), image["format"])


def _instance(syntax: str, stream: bytes, form: dict[str, int]) -> bytes:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = UID(syntax)
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3.4"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 5]
    data.PixelSpacing, data.SliceThickness, data.RescaleSlope, data.RescaleIntercept = [0.5, 0.5], 5, 1, -1024
    data.SamplesPerPixel, data.PhotometricInterpretation = form["samples_per_pixel"], "MONOCHROME2"
    data.Rows, data.Columns = form["rows"], form["columns"]
    data.BitsAllocated, data.BitsStored = form["bits_allocated"], form["bits_stored"]
    data.HighBit, data.PixelRepresentation = form["bits_stored"] - 1, int(form["signed"])
    native = syntax in codecs.NATIVE
    data.PixelData = stream if native else encapsulate([stream])
    data["PixelData"].VR = "OW" if native else "OB"
    data["PixelData"].is_undefined_length = not native
    written = BytesIO()
    data.save_as(written, enforce_file_format=True)
    return written.getvalue()


def prepare(folder: Path) -> Callable[[bytes], None]:
    path = folder / "slice.dcm"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(VolumeError, *ANSWERED):
            instance = open_instance(path)
            slice_headers(instance)
            digest = PixelDigest(instance)
            for words in decode_frames(instance):
                digest.add(words)

    return check
