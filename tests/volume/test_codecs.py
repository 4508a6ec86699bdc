from __future__ import annotations

import base64
import json
from importlib import resources
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.volume.ct import COMPRESSED, picture
from tests.volume.make_self_test_images import streams_of
from triage_node.domain.errors import DecodeError
from triage_node.volume import codecs
from triage_node.volume.codestream import FrameFormat, check_format, read_jpeg, read_jpeg2000

STORED = picture()
FORMAT = FrameFormat(48, 64, 1, 16, 12, False)
STREAMS = {uid: stream for uid, stream in streams_of(STORED.astype(np.int32), 12, False).items() if uid in COMPRESSED}
LOSSLESS = [uid for uid in COMPRESSED if uid not in codecs.LOSSY]


def images() -> list[dict[str, Any]]:
    text = resources.files("triage_node.volume").joinpath("self_test_images.json").read_text()
    return json.loads(text)


def test_self_test_passes_every_supported_transfer_syntax() -> None:
    assert codecs.self_test() == codecs.SUPPORTED
    assert len(codecs.SUPPORTED) == 14
    assert "1.2.840.10008.1.2.1.99" not in codecs.SUPPORTED  # deflated
    assert "1.2.840.10008.1.2.2" not in codecs.SUPPORTED  # big endian


def test_self_test_holds_a_signed_and_an_unsigned_image_of_every_lossless_syntax() -> None:
    told = {(i["transfer_syntax_uid"], i["format"]["signed"]) for i in images()}
    assert {(uid, signed) for uid in LOSSLESS for signed in (False, True)} <= told


@pytest.mark.parametrize("image", images(), ids=lambda i: f"{i['transfer_syntax_uid']}-{i['format']['signed']}")
def test_decoder_that_gives_other_values_fails_the_self_test(image: dict[str, Any]) -> None:
    values = np.frombuffer(base64.b64decode(image["values"]), "<i4") + 3 * image["lossy"] + 1
    assert codecs.decodes(image["transfer_syntax_uid"], image)
    assert not codecs.decodes(image["transfer_syntax_uid"], image | {"values": base64.b64encode(values.astype("<i4"))})
    assert not codecs.decodes(image["transfer_syntax_uid"], image | {"stream": base64.b64encode(b"\xff\xd8 nothing")})


@pytest.mark.parametrize("uid", LOSSLESS)
def test_lossless_stream_is_decoded_exactly(uid: str) -> None:
    assert np.array_equal(codecs.decode_frame(uid, STREAMS[uid], FORMAT), STORED)


@pytest.mark.parametrize("uid", COMPRESSED)
@pytest.mark.parametrize(("rows", "columns"), [(30000, 30000), (4000, 4000), (24, 32), (64, 49), (48, 65)])
def test_false_rows_and_columns_are_refused(uid: str, rows: int, columns: int) -> None:
    """gdcm died of this, RLE decoders returned a wrong picture (STANDARDS.md 4.4)."""
    with pytest.raises(DecodeError):
        codecs.decode_frame(uid, STREAMS[uid], FrameFormat(rows, columns, 1, 16, 12, False))


@pytest.mark.parametrize("uid", [u for u in COMPRESSED if u != "1.2.840.10008.1.2.5"])
def test_swapped_rows_and_columns_are_refused(uid: str) -> None:
    """RLE streams say nothing of their shape; there only the number of pixels can be compared."""
    with pytest.raises(DecodeError, match="the data set says 64 x 48 pixels, the stream 48 x 64"):
        codecs.decode_frame(uid, STREAMS[uid], FrameFormat(64, 48, 1, 16, 12, False))


@pytest.mark.parametrize("uid", COMPRESSED)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_stream_that_ends_early_is_refused(uid: str, share: float) -> None:
    """Two decoders fill the rest of the picture with grey and say nothing (STANDARDS.md 4.4)."""
    stream = STREAMS[uid]
    with pytest.raises(DecodeError):
        codecs.decode_frame(uid, stream[: int(len(stream) * share)], FORMAT)


@pytest.mark.parametrize("uid", COMPRESSED)
def test_three_samples_over_a_grey_stream_are_refused(uid: str) -> None:
    with pytest.raises(DecodeError):
        codecs.decode_frame(uid, STREAMS[uid], FrameFormat(48, 64, 3, 16, 12, False))


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.80"])
def test_fewer_bits_than_stored_are_refused_when_a_sign_would_be_lost(uid: str) -> None:
    with pytest.raises(DecodeError, match="1[12] bits in the stream for 16 signed bits"):
        codecs.decode_frame(uid, STREAMS[uid], FrameFormat(48, 64, 1, 16, 16, True))


def test_stream_of_another_family_is_refused() -> None:
    for uid in COMPRESSED:
        for other, stream in STREAMS.items():
            if uid.split(".4.")[0] == other.split(".4.")[0] and uid[-3:-1] == other[-3:-1]:
                continue
            try:
                words = codecs.decode_frame(uid, stream, FORMAT)
            except DecodeError:
                continue
            # the same code under two UIDs (lossless and lossy JPEG 2000, any JPEG-LS) may pass; the picture is right then
            assert np.abs(words.astype(int) - STORED).max() <= 60


def test_unknown_transfer_syntax_is_refused() -> None:
    with pytest.raises(DecodeError, match=r"1\.2\.3 is not supported"):
        codecs.decode_frame("1.2.3", b"", FORMAT)


@pytest.mark.parametrize(
    ("frame", "frames"),
    [
        (FrameFormat(4097, 10, 1, 16, 12, False), 1),
        (FrameFormat(0, 10, 1, 16, 12, False), 1),
        (FrameFormat(10, -1, 1, 16, 12, False), 1),
        (FrameFormat(512, 512, 1, 16, 12, False), 5000),
        (FrameFormat(512, 512, 1, 16, 12, False), 0),
        (FrameFormat(4096, 4096, 1, 16, 12, False), 33),
        (FrameFormat(512, 512, 2, 16, 12, False), 1),
        (FrameFormat(512, 512, 1, 32, 12, False), 1),
        (FrameFormat(512, 512, 1, 16, 17, False), 1),
        (FrameFormat(512, 512, 1, 16, 0, False), 1),
    ],
)
def test_format_out_of_bounds_is_refused_before_memory_is_asked_for(frame: FrameFormat, frames: int) -> None:
    with pytest.raises(DecodeError):
        check_format(frame, frames)


def test_largest_format_passes() -> None:
    check_format(FrameFormat(4096, 4096, 1, 16, 16, True), 32)
    check_format(FrameFormat(512, 512, 1, 16, 12, False), 2048)


@pytest.mark.parametrize(
    ("word", "bits", "high", "signed", "value"),
    [
        (0x0FFF, 12, 11, False, 4095),
        (0xF0FF, 12, 11, False, 0x0FF),  # overlay bits above
        (0x0830, 12, 11, True, -2000),
        (0xF830, 12, 11, True, -2000),
        (0x7FF0, 12, 15, False, 0x7FF),  # values in the upper bits, an overlay below
        (0x830F, 12, 15, True, -2000),
        (0xFA24, 16, 15, True, -1500),
        (0xFFFF, 16, 15, False, 65535),
    ],
)
def test_stored_value_lies_in_bits_stored_below_high_bit(
    word: int, bits: int, high: int, signed: bool, value: int
) -> None:
    frame = FrameFormat(1, 1, 1, 16, bits, signed)
    assert int(codecs.stored_values(np.array([[word]], np.uint16), frame, high)[0, 0]) == value


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(COMPRESSED), st.data())
def test_damaged_stream_gives_a_picture_of_the_right_size_or_a_decode_error(uid: str, data: st.DataObject) -> None:
    stream = bytearray(STREAMS[uid])
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, min(len(stream) - 1, 120)))] = data.draw(st.integers(0, 255))
    try:
        words = codecs.decode_frame(uid, bytes(stream), FORMAT)
    except DecodeError:
        return
    assert words.shape == STORED.shape


@given(st.binary(max_size=200))
def test_any_bytes_have_a_stream_header_or_a_decode_error(data: bytes) -> None:
    for read, start in ((read_jpeg, b"\xff\xd8"), (read_jpeg2000, b"\xff\x4f\xff\x51")):
        for stream in (data, start + data):
            try:
                assert read(stream).precision >= 0
            except DecodeError:
                continue
