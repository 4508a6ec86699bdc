"""What a compressed frame says about itself, read from its header before any decoder sees it (STANDARDS.md 4.4 rule 2).

Decoders trust the stream, the data set says something else, and the difference is how a wrong picture or a crash is made.
Sources: ITU-T T.81 B.2.2 (SOF), T.87 C.2.2 (SOF55), T.800 A.5.1 (SIZ), PS3.5 G.5 (RLE header).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from triage_node.domain.errors import DecodeError

MAXIMUM_SIDE = 4096
MAXIMUM_FRAMES = 4096
MAXIMUM_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """What the data set says of each frame. Units: pixels, bits."""

    rows: int
    columns: int
    samples_per_pixel: int
    bits_allocated: int
    bits_stored: int
    signed: bool

    @property
    def frame_bytes(self) -> int:
        return self.rows * self.columns * self.samples_per_pixel * (self.bits_allocated // 8)


@dataclass(frozen=True, slots=True)
class StreamHeader:
    """What the stream says. `marker` is the SOF marker's second byte, 0 for JPEG 2000."""

    rows: int
    columns: int
    components: int
    precision: int
    marker: int


def check_format(frame: FrameFormat, number_of_frames: int) -> None:
    """Refuse what is out of bounds for any CT, before memory is asked for."""
    if not (0 < frame.rows <= MAXIMUM_SIDE and 0 < frame.columns <= MAXIMUM_SIDE):
        raise DecodeError(f"image of {frame.rows} x {frame.columns} pixels is outside 1 to {MAXIMUM_SIDE}")
    if not 0 < number_of_frames <= MAXIMUM_FRAMES:
        raise DecodeError(f"{number_of_frames} frames are outside 1 to {MAXIMUM_FRAMES}")
    if frame.samples_per_pixel not in (1, 3) or frame.bits_allocated not in (8, 16):
        raise DecodeError(f"{frame.samples_per_pixel} samples of {frame.bits_allocated} bits are not supported")
    if not 0 < frame.bits_stored <= frame.bits_allocated:
        raise DecodeError(f"{frame.bits_stored} bits stored in {frame.bits_allocated}")
    if frame.frame_bytes * number_of_frames > MAXIMUM_BYTES:
        raise DecodeError(f"{frame.frame_bytes * number_of_frames} bytes of pixels are more than {MAXIMUM_BYTES}")


def check_stream(header: StreamHeader, frame: FrameFormat) -> None:
    """Refuse a stream whose size, components or precision are not those of the data set."""
    if (header.rows, header.columns) != (frame.rows, frame.columns):
        raise DecodeError(
            f"the data set says {frame.rows} x {frame.columns} pixels, the stream {header.rows} x {header.columns}"
        )
    if header.components != frame.samples_per_pixel:
        raise DecodeError(f"the data set says {frame.samples_per_pixel} samples, the stream {header.components}")
    if header.precision > frame.bits_allocated or (header.precision > 8) != (frame.bits_allocated > 8):
        raise DecodeError(f"{header.precision} bits in the stream do not fit {frame.bits_allocated} bits allocated")
    if header.marker and frame.signed and header.precision < frame.bits_stored:
        # only JPEG 2000 carries a sign; with fewer bits than stored nobody knows which bit is the sign
        raise DecodeError(f"{header.precision} bits in the stream for {frame.bits_stored} signed bits stored")


def read_jpeg(stream: bytes) -> StreamHeader:
    """Find the start of frame of JPEG and JPEG-LS. Raises DecodeError when there is none."""
    if stream[:2] != b"\xff\xd8":
        raise DecodeError("the frame is no JPEG stream")
    at = 2
    while at + 4 <= len(stream):
        if stream[at] != 0xFF:
            break
        marker = stream[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        (length,) = struct.unpack_from(">H", stream, at + 2)
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            if at + 10 > len(stream):
                break
            precision, rows, columns, components = struct.unpack_from(">BHHB", stream, at + 4)
            return StreamHeader(rows, columns, components, precision, marker)
        if marker in (0xDA, 0xD9) or length < 2:
            break
        at += 2 + length
    raise DecodeError("the JPEG stream has no start of frame")


def read_jpeg2000(stream: bytes) -> StreamHeader:
    """Read SIZ of a JPEG 2000 or HTJ2K codestream; the JP2 box header that some senders leave in place is passed over."""
    at = stream.find(b"\xff\x4f\xff\x51", 0, 512)
    if at < 0 or at + 45 > len(stream):
        raise DecodeError("the frame is no JPEG 2000 stream")
    x, y, x0, y0 = struct.unpack_from(">4I", stream, at + 8)
    (components,) = struct.unpack_from(">H", stream, at + 40)
    precision = (stream[at + 42] & 0x7F) + 1
    return StreamHeader(y - y0, x - x0, components, precision, 0)


def rle_segments(stream: bytes, frame: FrameFormat) -> list[bytes]:
    """Split an RLE frame into its byte planes, most significant first. Raises DecodeError when the header is false."""
    expected = frame.samples_per_pixel * (frame.bits_allocated // 8)
    if len(stream) < 64:
        raise DecodeError("the RLE frame is shorter than its header")
    count, *offsets = struct.unpack_from("<16I", stream)
    if count != expected:
        raise DecodeError(f"{count} RLE segments instead of {expected}")
    bounds = [*offsets[:count], len(stream)]
    if bounds[0] != 64 or any(a >= b for a, b in zip(bounds, bounds[1:], strict=False)):
        raise DecodeError("the RLE segments overlap or lie outside the frame")
    return [stream[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]
