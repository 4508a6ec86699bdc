"""What the decoding child hands over: stored words of a whole series, and what is needed to make a Volume of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """One frame. `frame_number` counts from 1 and is 0 for a single-frame instance.

    Units: mm; `rescale_*` None when absent; `pixel_padding` is (Pixel Padding Value, Range Limit or the value again).
    `contrast_bolus_agent` and `convolution_kernel` of frames only: a single-frame image says them in its own header.
    """

    sop_instance_uid: str
    frame_number: int
    image_orientation_patient: tuple[float, ...] | None
    image_position_patient: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, float] | None
    slice_thickness_mm: float | None
    rescale_slope: float | None
    rescale_intercept: float | None
    rescale_type: str
    pixel_padding: tuple[int, int] | None
    bits_stored: int
    high_bit: int
    signed: bool
    instance_number: int | None
    acquisition_number: int | None
    frame_of_reference_uid: str
    study_instance_uid: str
    series_instance_uid: str
    lossy: bool
    contrast_bolus_agent: str = ""
    convolution_kernel: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SeriesPixels:
    """Shape: words (slice, row, column) uint16, in the order of `slices`, as stored: not masked, not rescaled.

    `pixel_digests`: SOP Instance UID -> digest of its decoded values (DESIGN.md "Identity moves"). `left_out`: SOP Instance
    UIDs of localizer images in the series.
    """

    words: NDArray[np.uint16]
    slices: tuple[SliceHeader, ...]
    pixel_digests: dict[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
