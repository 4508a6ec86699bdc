"""Secondary captures that the node built, as PNG for the page."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

_MOST_PIXELS = 4096 * 4096


def picture(file: Path) -> bytes | None:
    """The first frame of an uncompressed 8-bit secondary capture as PNG; None for anything else."""
    try:
        capture = dcmread(file)
    except (OSError, InvalidDicomError):
        return None
    rows, columns = int(capture.get("Rows") or 0), int(capture.get("Columns") or 0)
    samples = int(capture.get("SamplesPerPixel") or 0)
    mode = {1: "L", 3: "RGB"}.get(samples)
    if mode is None or capture.get("BitsAllocated") != 8 or not 0 < rows * columns <= _MOST_PIXELS:
        return None
    pixels = capture.get("PixelData", b"")
    if capture.get("PlanarConfiguration", 0) or len(pixels) < rows * columns * samples:
        return None
    out = io.BytesIO()
    Image.frombytes(mode, (columns, rows), bytes(pixels[: rows * columns * samples])).save(out, "PNG")
    return out.getvalue()
