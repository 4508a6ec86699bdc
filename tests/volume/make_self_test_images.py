"""Write triage_node/volume/self_test_images.json: a signed and an unsigned 16 x 16 image in each transfer syntax.

Run `python -m tests.volume.make_self_test_images` after adding a transfer syntax. For lossy syntaxes the stored values are
what the decoder returned when the file was made, checked here to be near the original.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import imagecodecs
import jpeg_ls
import numpy as np

from triage_node.volume import codecs
from triage_node.volume.codestream import FrameFormat

TARGET = Path(codecs.__file__).with_name("self_test_images.json")
LOSSY_ERROR = 0.01  # of the stored range


def picture(bits: int, signed: bool, lossy: bool = False) -> np.ndarray:
    """A ramp, an edge and, where the codec cannot run over them, both extreme values of the stored range."""
    y, x = np.mgrid[:16, :16]
    top = 2**bits
    values = top // 16 + x * top // 20 + y * top // 160
    values[4:8, 4:8] = top // 2
    if not lossy:
        values[0, 0], values[15, 15] = 0, top - 1
    return (values - (top // 2 if signed else 0)).astype(np.int32)


def rle(words: np.ndarray) -> bytes:
    """PS3.5 G: the upper bytes, then the lower ones, each row packed by itself."""
    planes = [
        b"".join(imagecodecs.packbits_encode(bytes(row)) for row in plane)
        for plane in ((words >> 8).astype(np.uint8), (words & 255).astype(np.uint8))
    ]
    planes = [p + b"\x00" * (len(p) % 2) for p in planes]
    header = np.zeros(16, "<u4")
    header[:3] = 2, 64, 64 + len(planes[0])
    return header.tobytes() + b"".join(planes)


def streams(bits: int, signed: bool) -> dict[str, bytes]:
    """Transfer syntax -> stream of the picture."""
    exact = streams_of(picture(bits, signed), bits, signed)
    soft = streams_of(picture(bits, signed, lossy=True), bits, signed)
    return {uid: (soft if uid in codecs.LOSSY else exact)[uid] for uid in exact}


def streams_of(values: np.ndarray, bits: int, signed: bool) -> dict[str, bytes]:
    """Transfer syntax -> stream of stored values. Encoders without a sign get the low Bits Stored as words."""
    words = (values & (2**bits - 1)).astype(np.uint16)
    typed = values.astype(np.int16) if signed else words
    base = "1.2.840.10008.1.2"
    made = {
        base: words.tobytes(),
        f"{base}.1": words.tobytes(),
        f"{base}.5": rle(words),
        f"{base}.4.57": imagecodecs.jpeg8_encode(words, lossless=True, predictor=6, bitspersample=bits),
        f"{base}.4.70": imagecodecs.jpeg8_encode(words, lossless=True, predictor=1, bitspersample=bits),
        f"{base}.4.80": bytes(jpeg_ls.encode_array(words, lossy_error=0)),
        f"{base}.4.81": bytes(jpeg_ls.encode_array(words, lossy_error=0 if signed else 2)),
        f"{base}.4.90": imagecodecs.jpeg2k_encode(
            typed, codecformat="j2k", reversible=True, level=0, bitspersample=bits, resolutions=2
        ),
        f"{base}.4.91": imagecodecs.jpeg2k_encode(
            typed, codecformat="j2k", reversible=False, level=70, bitspersample=bits, resolutions=2
        ),
        f"{base}.4.201": imagecodecs.htj2k_encode(typed, reversible=True, resolutions=2),
        f"{base}.4.202": imagecodecs.htj2k_encode(typed, reversible=True, resolutions=2),
        f"{base}.4.203": imagecodecs.htj2k_encode(typed, level=0.0001, reversible=False, resolutions=2),
    }
    if not signed:  # baseline and extended JPEG know no sign
        made[f"{base}.4.51"] = imagecodecs.jpeg8_encode(words, level=98, bitspersample=bits)
    return {uid: bytes(stream) for uid, stream in made.items()}


def entry(uid: str, stream: bytes, frame: FrameFormat, original: np.ndarray) -> dict[str, Any]:
    values = codecs.stored_values(codecs.decode_frame(uid, stream, frame), frame).astype("<i4")
    error = int(np.abs(values - original).max())
    assert error <= (LOSSY_ERROR * 2**frame.bits_stored if uid in codecs.LOSSY else 0), (uid, frame, error)
    return {
        "transfer_syntax_uid": uid,
        "lossy": uid in codecs.LOSSY,
        "format": asdict(frame),
        "stream": base64.b64encode(stream).decode(),
        "values": base64.b64encode(values.tobytes()).decode(),
    }


def main() -> None:
    images = []
    for bits, signed in ((12, False), (16, True)):
        frame = FrameFormat(16, 16, 1, 16, bits, signed)
        for uid, stream in streams(bits, signed).items():
            images.append(entry(uid, stream, frame, picture(bits, signed, uid in codecs.LOSSY)))
    eight = picture(8, False, lossy=True).astype(np.uint8)
    images.append(
        entry(
            "1.2.840.10008.1.2.4.50",
            bytes(imagecodecs.jpeg8_encode(eight, level=98)),
            FrameFormat(16, 16, 1, 8, 8, False),
            eight.astype(np.int32),
        )
    )
    TARGET.write_text(json.dumps(images, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
