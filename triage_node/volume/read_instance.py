"""Read one CT instance from its file: headers of its frames, and its frames decoded. Runs in the decoding child.

Enhanced and Legacy Converted Enhanced CT hold per frame what single-frame CT holds per instance, in functional groups; what
is there is read in full, and what cannot be read is refused with a reason (PS3.3 C.7.6.16; STANDARDS.md 6.8).
"""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.filereader import read_dataset, read_preamble

from triage_node.domain.errors import DecodeError
from triage_node.domain.instance import LOCALIZERS
from triage_node.volume import codecs
from triage_node.volume.codestream import FrameFormat, check_format
from triage_node.volume.series_pixels import SliceHeader

_TAGS: list[Any] = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "ImageType",
    "InstanceNumber",
    "AcquisitionNumber",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "PixelSpacing",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "SamplesPerPixel",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "LossyImageCompression",
    "ContrastBolusAgentSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]


_RESERVED_UNASKED = 1 << 20


@dataclass(frozen=True, slots=True)
class Instance:
    """One file that was opened, without its pixels."""

    path: Path
    transfer_syntax_uid: str
    data: Dataset
    format: FrameFormat
    number_of_frames: int

    @property
    def sop_instance_uid(self) -> str:
        return str(self.data.get("SOPInstanceUID", ""))

    @property
    def is_localizer(self) -> bool:
        return any(str(v).upper() in LOCALIZERS for v in self._image_type()[2:])

    @property
    def high_bit(self) -> int:
        return _whole(self.data, "HighBit", self.format.bits_stored - 1)

    def _image_type(self) -> list[str]:
        value = self.data.get("ImageType") or []
        return [value] if isinstance(value, str) else list(value)


def open_instance(path: Path) -> Instance:
    """Read everything but the pixels and check it against the bounds. Raises DecodeError."""
    # the meta group first: a deflated data set would be inflated whole, whatever its size, before anything can be asked
    syntax = _transfer_syntax(path)
    if syntax not in codecs.SUPPORTED:
        raise DecodeError(f"transfer syntax {syntax or '(none)'} is not supported")
    data = _read(path, stop_before_pixels=True, specific_tags=_TAGS)
    frame = FrameFormat(
        rows=_whole(data, "Rows"),
        columns=_whole(data, "Columns"),
        samples_per_pixel=_whole(data, "SamplesPerPixel", 1),
        bits_allocated=_whole(data, "BitsAllocated"),
        bits_stored=_whole(data, "BitsStored", _whole(data, "BitsAllocated")),
        signed=_whole(data, "PixelRepresentation", 0) == 1,
    )
    number_of_frames = _whole(data, "NumberOfFrames", 1)
    check_format(frame, number_of_frames)
    return Instance(path, syntax, data, frame, number_of_frames)


class _File(io.BufferedReader):
    """A file that reserves memory for what it holds only, whatever an element says of its length."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _RESERVED_UNASKED:
            size = min(size, max(0, self._size - self.tell()))
        return super().read(size)


def _transfer_syntax(path: Path) -> str:
    """What the file's own head says (PS3.10 section 7.1)."""
    with _File(path) as file:
        read_preamble(file, force=False)
        meta = read_dataset(file, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
    return str(meta.get("TransferSyntaxUID", ""))


def _read(path: Path, **options: Any) -> Dataset:
    with _File(path) as file:
        return dcmread(file, **options)


def decode_frames(instance: Instance) -> Iterator[codecs.Words]:
    """Yield the words of each frame. Raises DecodeError when there are not as many frames as the header says."""
    data = _read(instance.path, specific_tags=["PixelData"])
    pixels: bytes = data.get("PixelData") or b""
    if not pixels:
        raise DecodeError("the instance holds no pixels")
    frame, count = instance.format, instance.number_of_frames
    if instance.transfer_syntax_uid in codecs.NATIVE:
        length = frame.frame_bytes * count
        if len(pixels) not in (length, length + length % 2):
            raise DecodeError(
                f"{frame.rows} x {frame.columns} x {count} pixels need {length} bytes, the instance holds {len(pixels)}"
            )
        for i in range(count):
            start = i * frame.frame_bytes
            yield codecs.decode_frame(instance.transfer_syntax_uid, pixels[start : start + frame.frame_bytes], frame)
        return
    done = 0
    for stream in islice(generate_frames(pixels, number_of_frames=count), count):
        yield codecs.decode_frame(instance.transfer_syntax_uid, stream, frame)
        done += 1
    if done != count:
        raise DecodeError(f"the header says {count} frames, the instance holds {done}")


class PixelDigest:
    """SHA-256 of decoded stored values, Rows, Columns, frames and rescale, so that a recompressed copy has the same."""

    def __init__(self, instance: Instance) -> None:
        frame, data = instance.format, instance.data
        rescale = [_number(data.get(k)) for k in ("RescaleSlope", "RescaleIntercept")]
        if instance.number_of_frames > 1:
            rescale += [v for h in slice_headers(instance) for v in (h.rescale_slope, h.rescale_intercept)]
        told = f"{frame.rows} {frame.columns} {frame.samples_per_pixel} {instance.number_of_frames} {frame.signed} {rescale}"
        self._instance = instance
        self._digest = hashlib.sha256(told.encode())

    def add(self, words: codecs.Words) -> None:
        values = codecs.stored_values(words, self._instance.format, self._instance.high_bit)
        wide = values if values.dtype.itemsize == 2 else values.astype(np.int16)
        self._digest.update(np.ascontiguousarray(wide).data)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def pixel_digest(path: Path) -> str:
    """Digest of one instance of any kind that has pixels."""
    instance = open_instance(path)
    digest = PixelDigest(instance)
    for words in decode_frames(instance):
        digest.add(words)
    return digest.hexdigest()


def slice_headers(instance: Instance) -> list[SliceHeader]:
    """One header per frame. Raises DecodeError when functional groups are missing or do not fit the frames."""
    data = instance.data
    if "PerFrameFunctionalGroupsSequence" not in data and "SharedFunctionalGroupsSequence" not in data:
        if instance.number_of_frames > 1:
            raise DecodeError("several frames without functional groups: their places are not known")
        return [_header(instance, 0, data, data, data, data)]
    shared = _first(data, "SharedFunctionalGroupsSequence")
    per_frame = list(data.get("PerFrameFunctionalGroupsSequence") or [])
    if len(per_frame) != instance.number_of_frames:
        raise DecodeError(f"functional groups for {len(per_frame)} frames, {instance.number_of_frames} frames")
    headers = []
    for number, own in enumerate(per_frame, start=1):
        groups = [_group(name, own, shared) for name in _GROUPS]
        header = _header(instance, number, *groups)
        headers.append(
            replace(header, contrast_bolus_agent=_agent(data, own, shared), convolution_kernel=_kernel(own, shared))
        )
    return headers


_GROUPS = (
    "PlaneOrientationSequence",
    "PlanePositionSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
)


def _group(name: str, own: Dataset, shared: Dataset) -> Dataset:
    for holder in (own, shared):
        item = _first(holder, name)
        if len(item):
            return item
    raise DecodeError(f"a multi-frame image without {name.removesuffix('Sequence')} cannot be placed")


_CONVERTED = ("UnassignedPerFrameConvertedAttributesSequence", "UnassignedSharedConvertedAttributesSequence")
"""Where a Legacy Converted Enhanced CT keeps what single-frame images said (PS3.3 C.7.6.16.2.25)."""


def _agent(data: Dataset, own: Dataset, shared: Dataset) -> str:
    """The agent a frame was taken with, or empty (PS3.3 C.7.6.4b; its usage per frame: C.7.6.16.2.12)."""
    usage = own.get("ContrastBolusUsageSequence") or shared.get("ContrastBolusUsageSequence") or []
    if usage and all(str(u.get("ContrastBolusAgentAdministered") or "") == "NO" for u in usage):
        return ""
    agents = list(data.get("ContrastBolusAgentSequence") or [])
    if agents or usage:
        return next((str(a.CodeMeaning) for a in agents if a.get("CodeMeaning")), "without a name")
    converted = (_first(h, name).get("ContrastBolusAgent") for h, name in zip((own, shared), _CONVERTED, strict=True))
    return next((str(c) for c in converted if c), "")


def _kernel(own: Dataset, shared: Dataset) -> tuple[str, ...]:
    """Names of the kernel and its group (PS3.3 C.8.15.3.7, CT Reconstruction)."""
    places = [_first(h, "CTReconstructionSequence") for h in (own, shared)]
    places += [_first(h, name) for h, name in zip((own, shared), _CONVERTED, strict=True)]
    told = [p.get(k) for p in places for k in ("ConvolutionKernel", "ConvolutionKernelGroup")]
    return tuple(str(v) for value in told if value for v in ([value] if isinstance(value, str) else value))


def _first(holder: Dataset, name: str) -> Dataset:
    items = holder.get(name) or []
    return items[0] if len(items) else Dataset()


def _header(
    instance: Instance, number: int, orientation: Dataset, position: Dataset, measures: Dataset, transform: Dataset
) -> SliceHeader:
    data = instance.data
    padding = data.get("PixelPaddingValue")
    limit = data.get("PixelPaddingRangeLimit", padding)
    spacing = _numbers(measures.get("PixelSpacing"), 2)
    return SliceHeader(
        sop_instance_uid=instance.sop_instance_uid,
        frame_number=number,
        image_orientation_patient=_numbers(orientation.get("ImageOrientationPatient"), 6),
        image_position_patient=_numbers(position.get("ImagePositionPatient"), 3),
        pixel_spacing_mm=(spacing[0], spacing[1]) if spacing else None,
        slice_thickness_mm=_number(measures.get("SliceThickness")),
        rescale_slope=_number(transform.get("RescaleSlope")),
        rescale_intercept=_number(transform.get("RescaleIntercept")),
        rescale_type=str(transform.get("RescaleType") or ""),
        pixel_padding=(padding, limit) if isinstance(padding, int) and isinstance(limit, int) else None,
        bits_stored=instance.format.bits_stored,
        high_bit=instance.high_bit,
        signed=instance.format.signed,
        instance_number=_optional_whole(data, "InstanceNumber"),
        acquisition_number=_optional_whole(data, "AcquisitionNumber"),
        frame_of_reference_uid=str(data.get("FrameOfReferenceUID") or ""),
        study_instance_uid=str(data.get("StudyInstanceUID") or ""),
        series_instance_uid=str(data.get("SeriesInstanceUID") or ""),
        lossy=str(data.get("LossyImageCompression") or "") == "01" or instance.transfer_syntax_uid in codecs.LOSSY,
    )


def _number(value: Any) -> float | None:
    """A finite float, or None. Decimal strings from outside may be anything."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    if value is None or isinstance(value, str | int | float) or len(value) != count:
        return None
    numbers = [_number(v) for v in value]
    return None if None in numbers else tuple(n for n in numbers if n is not None)


def _optional_whole(data: Dataset, keyword: str) -> int | None:
    number = _number(data.get(keyword))
    return None if number is None else int(number)


def _whole(data: Dataset, keyword: str, default: int | None = None) -> int:
    number = _optional_whole(data, keyword)
    if number is None:
        if default is None:
            raise DecodeError(f"{keyword} is missing")
        return default
    return number


def copy_words(frame: codecs.Words, target: NDArray[np.uint16]) -> None:
    """Put one decoded frame in its place in the series."""
    if frame.shape != target.shape or frame.dtype != np.uint16:
        raise DecodeError(f"a frame of {frame.dtype} {frame.shape} in a series of 16-bit {target.shape}")
    target[...] = frame
