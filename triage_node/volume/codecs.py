"""Decoders for the transfer syntaxes that CT senders use, all under permissive licences (STANDARDS.md 4.3).

RLE, JPEG Lossless and 12-bit JPEG: imagecodecs (BSD-3); JPEG-LS: pyjpegls (MIT); JPEG 2000 and HTJ2K: pylibjpeg-openjpeg
(MIT). They are called directly, not through pydicom's plug-in list: there the first installed plug-in wins, and a wrong
one returns a wrong picture without an error. Deflated and big endian transfer syntaxes are not offered (4.5.2).

Everything here runs in the decoding child only.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from importlib import resources
from typing import Any

import imagecodecs
import jpeg_ls
import numpy as np
from numpy.typing import NDArray
from openjpeg.utils import decode as decode_jpeg2000

from triage_node.domain.errors import DecodeError
from triage_node.volume.codestream import FrameFormat, check_stream, read_jpeg, read_jpeg2000, rle_segments

Words = NDArray[Any]
"""uint8 or uint16, shape (row, column) or (row, column, sample)."""

IMPLICIT_LITTLE, EXPLICIT_LITTLE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
NATIVE = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE})
LOSSY = frozenset(
    {
        "1.2.840.10008.1.2.4.50",
        "1.2.840.10008.1.2.4.51",
        "1.2.840.10008.1.2.4.81",
        "1.2.840.10008.1.2.4.91",
        "1.2.840.10008.1.2.4.203",
    }
)
"""May be lossy by their definition; accepted, and the result says so (4.5.3)."""

_SELF_TEST_TOLERANCE = 2
"""Counts by which another build of a lossy decoder may differ from the stored values (4.1: inverse DCT rounding)."""


def _native(stream: bytes, frame: FrameFormat) -> Words:
    return np.frombuffer(stream, dtype=np.uint8)


def _rle(stream: bytes, frame: FrameFormat) -> Words:
    size = frame.rows * frame.columns
    planes = np.empty((frame.samples_per_pixel, frame.bits_allocated // 8, size), dtype=np.uint8)
    flat = planes.reshape(-1, size)
    for i, segment in enumerate(rle_segments(stream, frame)):
        # one byte more than the plane may hold: that is how a plane that is too long shows
        plane = imagecodecs.packbits_decode(segment, out=size + 1)
        if len(plane) != size:
            raise DecodeError(f"an RLE segment holds {len(plane)} bytes instead of {size}")
        flat[i] = np.frombuffer(plane, dtype=np.uint8)
    # byte planes come most significant first (PS3.5 G.2), samples one after another
    return np.ascontiguousarray(planes[:, ::-1].transpose(2, 0, 1))


def _jpeg_lossless(stream: bytes, frame: FrameFormat) -> Words:
    header = read_jpeg(stream)
    check_stream(header, frame)
    if header.marker != 0xC3:
        raise DecodeError("the stream is not JPEG Lossless")
    return np.asarray(imagecodecs.jpegsof3_decode(stream))


def _jpeg_lossy(stream: bytes, frame: FrameFormat) -> Words:
    header = read_jpeg(stream)
    check_stream(header, frame)
    if header.marker not in (0xC0, 0xC1, 0xC2):
        raise DecodeError("the stream is not sequential JPEG")
    _check_end(stream)  # this decoder fills a stream that ends early with grey and says nothing
    return np.asarray(imagecodecs.jpeg8_decode(stream))


def _check_end(stream: bytes) -> None:
    """The end marker stands at the end, but for padding."""
    if b"\xff\xd9" not in stream[-8:]:
        raise DecodeError("the JPEG stream ends early")


def _jpeg_ls(stream: bytes, frame: FrameFormat) -> Words:
    header = read_jpeg(stream)
    check_stream(header, frame)
    if header.marker != 0xF7:
        raise DecodeError("the stream is not JPEG-LS")
    _check_end(stream)  # CharLS needs ten seconds to refuse some streams that end early
    pixels, info = jpeg_ls.decode_pixel_data(stream)
    words = np.frombuffer(pixels, dtype=np.uint8)
    if frame.samples_per_pixel == 3 and info["interleave_mode"] == 0:
        words = np.ascontiguousarray(words.reshape(3, -1).T)
    return words


def _jpeg2000(stream: bytes, frame: FrameFormat) -> Words:
    check_stream(read_jpeg2000(stream), frame)
    return np.asarray(decode_jpeg2000(stream))


_DECODERS: dict[str, Callable[[bytes, FrameFormat], Words]] = {
    IMPLICIT_LITTLE: _native,
    EXPLICIT_LITTLE: _native,
    "1.2.840.10008.1.2.5": _rle,
    "1.2.840.10008.1.2.4.50": _jpeg_lossy,  # 8 bit: secondary captures
    "1.2.840.10008.1.2.4.51": _jpeg_lossy,  # 12 bit
    "1.2.840.10008.1.2.4.57": _jpeg_lossless,
    "1.2.840.10008.1.2.4.70": _jpeg_lossless,
    "1.2.840.10008.1.2.4.80": _jpeg_ls,
    "1.2.840.10008.1.2.4.81": _jpeg_ls,
    "1.2.840.10008.1.2.4.90": _jpeg2000,
    "1.2.840.10008.1.2.4.91": _jpeg2000,
    "1.2.840.10008.1.2.4.201": _jpeg2000,
    "1.2.840.10008.1.2.4.202": _jpeg2000,
    "1.2.840.10008.1.2.4.203": _jpeg2000,
}
SUPPORTED = tuple(_DECODERS)


def decode_frame(transfer_syntax_uid: str, stream: bytes, frame: FrameFormat) -> Words:
    """Return the pixels of one frame as unsigned words of Bits Allocated.

    Bits above Bits Stored are as the stream has them; whoever interprets the words masks them.
    Raises DecodeError when the stream is not what the data set says, or its decoder fails.
    """
    try:
        decoder = _DECODERS[transfer_syntax_uid]
    except KeyError:
        raise DecodeError(f"transfer syntax {transfer_syntax_uid} is not supported") from None
    try:
        pixels = decoder(stream, frame)
    except (DecodeError, MemoryError):
        raise
    except Exception as error:  # codecs raise classes of their own
        raise DecodeError(
            f"the decoder refuses the pixel stream ({type(error).__name__}: {str(error)[:120]})"
        ) from error
    if pixels.nbytes != frame.frame_bytes:
        raise DecodeError(f"a frame decodes to {pixels.nbytes} bytes instead of {frame.frame_bytes}")
    shape: tuple[int, ...] = (frame.rows, frame.columns)
    if frame.samples_per_pixel > 1:
        shape = (*shape, frame.samples_per_pixel)
    words = (
        np.ascontiguousarray(pixels).reshape(-1).view(np.uint8).view("<u2" if frame.bits_allocated == 16 else np.uint8)
    )
    return words.reshape(shape)


def stored_values(words: Words, frame: FrameFormat, high_bit: int | None = None) -> Words:
    """Interpret words as stored values: Bits Stored below High Bit, sign extended. Returns int16, uint16, int8 or uint8.

    Bits outside hold overlays in images of old scanners (PS3.5 8.1.1).
    """
    bits = 8 * words.dtype.itemsize
    kind: Any = np.dtype(f"{'i' if frame.signed else 'u'}{words.dtype.itemsize}")
    high = frame.bits_stored - 1 if high_bit is None else high_bit
    if not frame.bits_stored - 1 <= high < bits:
        raise DecodeError(f"high bit {high} with {frame.bits_stored} bits stored")
    if frame.bits_stored == bits:
        return words.view(kind)
    values: Words = (words << np.array(bits - 1 - high, words.dtype)).view(kind) >> np.array(
        bits - frame.bits_stored, kind
    )
    return values


def self_test() -> tuple[str, ...]:
    """Return the transfer syntaxes whose decoder gives back a stored 16 x 16 image, signed and unsigned, just now.

    Lossless ones must be exact; lossy ones as another build of the same codec would decode them.
    """
    text = resources.files("triage_node.volume").joinpath("self_test_images.json").read_text(encoding="ascii")
    images: list[dict[str, Any]] = json.loads(text)
    passed: dict[str, bool] = {}
    for image in images:
        uid = image["transfer_syntax_uid"]
        passed[uid] = passed.get(uid, True) and decodes(uid, image)
    return tuple(uid for uid in SUPPORTED if passed.get(uid, False))


def decodes(uid: str, image: dict[str, Any]) -> bool:
    """Whether a stored image gives its stored values. False, too, when its decoder refuses it."""
    frame = FrameFormat(**image["format"])
    expected = np.frombuffer(base64.b64decode(image["values"]), dtype="<i4").reshape(frame.rows, frame.columns)
    try:
        values = stored_values(decode_frame(uid, base64.b64decode(image["stream"]), frame), frame)
    except DecodeError:
        return False
    tolerance = _SELF_TEST_TOLERANCE if image["lossy"] else 0
    return bool(np.abs(values.astype(np.int32) - expected).max() <= tolerance)
