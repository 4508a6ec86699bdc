"""Pictures of teaching sets: 8-bit windowed ones of any size and colour mode, and 16-bit ones that hold HU + 1024."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from triage_node.detection.pictures import grey_of_colours
from triage_node.domain.errors import CaseUnreadable

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".tif", ".tiff", ".webp", ".gif")
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
HU_OFFSET = 1024
SMALLEST_SIDE, LARGEST_SIDE = 16, 8192
LEAST_HU_WORD, HIGHEST_HU_WORD = 256, 40_000
"""A scan in HU + 1024 has tissue over 1000 somewhere, and metal stays below 31,743 + 1024; pictures that only use 16 bits
for 8-bit grey levels stay below the first or go to 65,535."""
_DEEP = ("I", "F")
_LEAST_UPPER_BYTE = 32
"""HU + 1024 stays below 8192 in any head without metal."""
_WRAPPED, _HIGHEST_OF_A_SCAN = 65536 - 4096, 8192


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What is known after one look. `deep`: more than 8 bits a sample, `highest` its largest value."""

    rows: int
    columns: int
    deep: bool
    highest: float
    constant: bool
    sha256: str


def look_at(path: Path) -> PictureFacts:
    """Decode the picture once, so that a broken one is known before it is counted. Raises CaseUnreadable."""
    values = _decoded(path)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise CaseUnreadable(f"cannot be read ({error.strerror})") from error
    highest, lowest = float(values.max()), float(values.min())
    rows, columns = values.shape
    return PictureFacts(rows, columns, values.dtype != np.uint8, highest, highest == lowest, digest)


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Grey levels, black 0, transparency on black. Shape: (row, column). Raises CaseUnreadable."""
    values = _decoded(path)
    if values.dtype == np.uint8:
        return values
    top = float(values.max())
    return np.clip(values / (257.0 if top > 255 else 1.0), 0, 255).astype(np.uint8)


def read_hu(path: Path) -> NDArray[np.int16]:
    """HU of a 16-bit picture that holds HU + 1024. Shape: (row, column). Raises CaseUnreadable."""
    values = _decoded(path)
    if values.dtype == np.uint8:
        raise CaseUnreadable("8 bits a pixel where 16 bits (HU + 1024) were expected")
    return np.clip(values.astype(np.int32) - HU_OFFSET, -1024, 32767).astype(np.int16)


def _decoded(path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    try:
        with warnings.catch_warnings():
            # a picture that says it is larger than any scan is an attack or a mistake, not a warning
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                if max(image.size) > LARGEST_SIDE:
                    raise CaseUnreadable(
                        f"{image.size[0]} x {image.size[1]} pixels are more than {LARGEST_SIDE} a side"
                    )
                if min(image.size) < SMALLEST_SIDE:
                    raise CaseUnreadable(f"{image.size[0]} x {image.size[1]} pixels are no picture of a head")
                if _is_deep_colour(path, image):
                    raise CaseUnreadable(
                        "16 bits a colour that hold HU + 1024: save it as 16-bit grey, of which nothing is lost"
                    )
                return _grey_levels(ImageOps.exif_transpose(image))
    except CaseUnreadable:
        raise
    except Exception as error:
        words = "no picture and no DICOM file" if type(error).__name__ == "UnidentifiedImageError" else str(error)
        raise CaseUnreadable(f"cannot be read ({words[:120] or type(error).__name__})") from error


def _is_deep_colour(path: Path, image: Image.Image) -> bool:
    """A PNG of 16 bits and several channels, of which only the upper 8 bits would be read, and they hold next to nothing."""
    if image.format != "PNG":
        return False
    with path.open("rb") as file:
        depth, kind = file.read(26)[24:26]  # IHDR: PNG specification 11.2.2
    several = kind in (2, 4, 6)
    return depth == 16 and several and max(high for _, high in image.convert("RGB").getextrema()) < _LEAST_UPPER_BYTE


def _unwrapped(values: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Padding below -1024 HU that went through zero: air again, where everything else is a scan in HU + 1024."""
    wrapped = values >= _WRAPPED
    others = values[~wrapped]
    if wrapped.any() and others.size and LEAST_HU_WORD <= others.max() <= _HIGHEST_OF_A_SCAN:
        return np.where(wrapped, 0, values).astype(np.uint16)
    return values


def _grey_levels(image: Image.Image) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if image.mode.startswith(_DEEP):
        values = np.asarray(image)
        if values.min() < 0 or not np.isfinite(values).all():
            raise CaseUnreadable("a picture with values below zero: neither grey levels nor HU + 1024")
        return _unwrapped(np.minimum(values, 65535).astype(np.uint16))
    if "transparency" in image.info and image.mode in ("P", "L", "RGB", "1"):
        image = image.convert("RGBA")
    if image.mode in ("LA", "RGBA", "PA", "La", "RGBa"):
        image = image.convert("RGBA")
        opacity = np.asarray(image.getchannel("A"), np.float32) / 255
        grey = _of_colours(image.convert("RGB")).astype(np.float32)
        # some tools write a layer that is transparent everywhere
        return np.rint(grey * opacity if opacity.any() else grey).astype(np.uint8)
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return np.array(image, np.uint8) if image.mode == "L" else _of_colours(image)


def _of_colours(image: Image.Image) -> NDArray[np.uint8]:
    return np.rint(grey_of_colours(np.asarray(image, np.float32) / 255) * 255).astype(np.uint8)
