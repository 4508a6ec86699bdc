"""Schema of a bundle's configs/metadata.json: MONAI's fields, and what a node must know before it lets a model speak.

A bundle is data: no code runs from it. Figures in it are written by the evaluation command, never typed.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from triage_node.domain.finding import (
    CHRONIC_OUTPUT,
    FINDINGS,
    LOCATION_OUTPUT,
    PROGNOSIS_OUTPUTS,
    VOLUME_OUTPUT,
    EvidenceLevel,
)

SUFFIXES = (".onnx", ".safetensors", ".json", ".md")
"""What a bundle may hold. No pickle, no Python, nothing that runs."""


def _inside_the_bundle(path: str) -> str:
    parts = PurePosixPath(path).parts
    plain = all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", part) for part in parts)
    if not plain or "\\" in path or "/".join(parts) != path:
        raise ValueError(f"{path!r} must be a plain relative path inside the bundle")
    if PurePosixPath(path).suffix not in SUFFIXES:
        raise ValueError(f"{path!r} is no {', '.join(SUFFIXES)} file")
    return path


FileName = Annotated[str, Field(max_length=200), AfterValidator(_inside_the_bundle)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Probability = Annotated[float, Field(ge=0, le=1)]
Words = Annotated[str, Field(min_length=1, max_length=4000)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Tensor(Part):
    """One input or output of the network. `spatial_shape` in pixels; `channel_def` names each channel in order."""

    type: Literal["image", "segmentation", "probabilities"]
    format: Words
    modality: Literal["CT"] = "CT"
    num_channels: int = Field(ge=1, le=64)
    spatial_shape: tuple[int, ...] = Field(max_length=3)
    dtype: Literal["float32"]
    value_range: tuple[float, float] | None = None
    is_patch_data: bool = False
    channel_def: dict[str, str]

    @model_validator(mode="after")
    def _channels_named(self) -> Self:
        if list(self.channel_def) != [str(i) for i in range(self.num_channels)]:
            raise ValueError("channel_def must name channels 0 to num_channels - 1 in order")
        return self


class NetworkDataFormat(Part):
    inputs: dict[str, Tensor] = Field(min_length=1)
    outputs: dict[str, Tensor] = Field(min_length=1)


class Preprocessing(Part):
    """What the network was trained on; the module that feeds it must say the same, else the bundle is refused.

    `skull_share`: how detection finds the field of view; None for a network whose pictures are laid out in mm.
    """

    version: int = Field(ge=1)
    hu_clip: tuple[float, float]
    grid_pixels: int = Field(ge=16, le=1024)
    skull_share: float | None = Field(None, gt=0, le=1)
    pixel_mm: float = Field(gt=0, description="About, for an adult head.")
    slice_mm: float = Field(gt=0)


class OperatingPointEntry(Part):
    """Default thresholds of one finding; `chosen_on` says with which studies and by which rule."""

    raise_probability: Probability
    notify_probability: Probability
    unsure_from: Probability | None = Field(None, description="From here to raise_probability the answer is: not sure.")
    slice_probability: Probability | None = Field(None, description="Threshold of a single slice or picture.")
    quartile_logit: float | None = Field(
        None,
        description="25 % quantile of the study logits of the studies without hemorrhage that it was chosen on: what a "
        "site's unlabelled scores are held against (evaluation/calibrate.py).",
    )
    chosen_on: Words

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.raise_probability > self.notify_probability:
            raise ValueError("raise_probability must not exceed notify_probability")
        if self.unsure_from is not None and self.unsure_from > self.raise_probability:
            raise ValueError("unsure_from must not exceed raise_probability")
        return self


class Lines(Part):
    """From logits to probabilities by a straight line each: logit' = slope x logit + offset."""

    slope: float = Field(gt=0)
    offset: float
    slice_slope: float = Field(gt=0)
    slice_offset: float


class Calibration(Lines):
    """How slice logits of one finding become probabilities (detection/study_score.py)."""

    aggregation: Literal["max", "pair", "top2", "top3", "top5", "noisy-or", "sequence"]
    picture: Lines | None = Field(None, description="For 8-bit pictures, whose logits lie elsewhere; None: as for HU.")
    chosen_on: Words


_Row = Annotated[tuple[float, ...], Field(min_length=12, max_length=12)]


class Naming(Part):
    """How pieces of the mask are named (detection/naming.py): a row for "none" and one for each type, over twelve features."""

    coefficients: tuple[_Row, ...] = Field(min_length=6, max_length=6)
    intercepts: tuple[float, ...] = Field(min_length=6, max_length=6)
    fitted_on: Words


class Figure(Part):
    """One measured figure. `low` and `high`: its interval (by patient, 95 %) or None; `n` counts studies."""

    name: Words
    value: float
    low: float | None = None
    high: float | None = None
    n: int = Field(ge=1)
    n_patients: int | None = Field(None, ge=1)
    data: Words
    evidence: EvidenceLevel


class Manifest(Part):
    """metadata.json. Field names up to network_data_format are MONAI's."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    changelog: dict[str, str]
    monai_version: str
    pytorch_version: str
    numpy_version: str
    required_packages_version: dict[str, str] = {}
    task: Words
    description: Words
    authors: Words
    copyright: Words
    data_source: Words
    data_type: Words
    intended_use: Words
    references: tuple[str, ...] = ()
    network_data_format: NetworkDataFormat
    preprocessing: Preprocessing
    evidence: dict[str, EvidenceLevel]
    operating_points: dict[str, OperatingPointEntry]
    calibration: dict[str, Calibration] = {}
    naming: Naming | None = Field(None, description="None: a piece is named by its largest mask channel.")
    evaluation: tuple[Figure, ...]
    training: dict[str, str | int | float | dict[str, str]]
    network: FileName
    files: dict[FileName, Sha256] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.network not in self.files:
            raise ValueError(f"network {self.network!r} is not among files")
        measured = {VOLUME_OUTPUT, LOCATION_OUTPUT, CHRONIC_OUTPUT}
        for what, known in (
            (self.evidence, {*FINDINGS, *measured, *PROGNOSIS_OUTPUTS}),
            (self.operating_points, {*FINDINGS}),
            (self.calibration, {*FINDINGS}),
        ):
            unknown = sorted(set(what) - known)
            if unknown:
                raise ValueError(f"no such finding: {', '.join(unknown)}")
        above = sorted(k for k, level in self.evidence.items() if level > EvidenceLevel.E1)
        if above:
            raise ValueError(f"a bundle cannot claim more than E1 (a site's evaluation does): {', '.join(above)}")
        return self
