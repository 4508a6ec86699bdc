"""A small synthetic CT with a known bleed, and requests made from it. No detector and no store takes part."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from triage_node.domain.delivery import ObjectKind
from triage_node.domain.finding import (
    BundleIdentity,
    Component,
    Detection,
    EvidenceLevel,
    FindingDecision,
    Location,
    OperatingPoint,
)
from triage_node.domain.geometry import slice_extents
from triage_node.domain.volume import Volume
from triage_node.report.request import NodeIdentity, ReportRequest, ResultIdentity
from triage_node.simulation.scanners import Exam, Patient, axial_series

AT = datetime(2026, 11, 21, 7, 30, 15, 250_000, tzinfo=UTC)
FLAGGED = frozenset(
    {
        ObjectKind.FINDINGS_SR,
        ObjectKind.LOCATION_SR,
        ObjectKind.SEG,
        ObjectKind.HEATMAP_SC,
        ObjectKind.SUMMARY_SC,
    }
)
EVERYTHING = frozenset(ObjectKind)
BUNDLE = BundleIdentity("BloodNet", "0.1.0", "ab" * 32, "onnxruntime 1.30 fp32", {"ich": EvidenceLevel.E1})
NODE = NodeIdentity("TRIAGE1", "St. Example Hospital", "0.1.0")
IDENTITY = ResultIdentity("cd" * 32, BUNDLE.digest, BUNDLE.runtime, 3, "ef" * 32, "01" * 32, 1)
POINT = OperatingPoint("ich", 0.4, 0.7, 3)


def volume(
    slices: int = 12,
    size: int = 96,
    steps_mm: np.ndarray | float = 5.0,
    tilt_deg: float = 0.0,
    thickness_mm: float = 5.0,
) -> Volume:
    """A round head of brain in a skull; with a tilt, the stack is sheared as a tilted gantry makes it."""
    z, y, x = np.mgrid[0:slices, 0:size, 0:size].astype(np.float32)
    middle = (size - 1) / 2
    r = np.hypot(y - middle, (x - middle) * 1.15) / (size * 0.45)
    hu = np.full(z.shape, -1000, np.int16)
    hu[r < 1] = 1000
    hu[r < 0.9] = 33
    t = np.deg2rad(tilt_deg)
    column = np.array([0.0, np.cos(t), -np.sin(t)])
    row = np.array([1.0, 0.0, 0.0])
    normal = np.cross(row, column)
    steps = np.broadcast_to(np.asarray(steps_mm, dtype=float), slices - 1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    # the couch moves along z only: position x and y stay, the in-plane coordinate drifts
    origins = np.array([-115.0, -115.0, -60.0]) + np.outer(along / normal[2], [0.0, 0.0, 1.0])
    thickness = np.full(slices, thickness_mm)
    return Volume(
        hu=hu,
        origins_mm=origins,
        row_cosine=row,
        column_cosine=column,
        pixel_spacing_mm=(230 / size, 230 / size),
        slice_extent_mm=slice_extents(along, list(thickness)),
        slice_thickness_mm=thickness,
        frame_of_reference_uid="1.2.826.0.1.3680043.8.498.9.3",
        study_instance_uid="1.2.826.0.1.3680043.8.498.9.1",
        series_instance_uid="1.2.826.0.1.3680043.8.498.9.2",
        sop_instance_uids=tuple(f"1.2.826.0.1.3680043.8.498.9.2.{i + 1}" for i in range(slices)),
    )


def with_bleeds(v: Volume) -> tuple[Volume, np.ndarray]:
    """Two bleeds: one deep over five slices, one small beside the skull in two."""
    n, rows, columns = v.hu.shape
    mask = np.zeros(v.hu.shape, np.uint8)
    y, x = np.mgrid[0:rows, 0:columns] / rows
    for k in range(max(n // 2 - 2, 0), min(n // 2 + 3, n)):
        mask[k][np.hypot(y - 0.55, (x - 0.4) * 1.3) < 0.09 - 0.02 * abs(k - n // 2)] = 1
    for k in range(n // 2, min(n // 2 + 2, n)):
        mask[k][(abs(x - 0.74) < 0.015) & (abs(y - 0.5) < 0.09)] = 2
    hu = v.hu.copy()
    hu[mask > 0] = 68
    return dataclasses.replace(v, hu=hu), mask


def detection(v: Volume, mask: np.ndarray, probability: float = 0.93) -> Detection:
    components = []
    for label, subtype, place in ((1, "iph", Location.DEEP), (2, "sdh", Location.EXTRA_AXIAL)):
        where = mask == label
        if where.any():
            key = int(where.sum(axis=(1, 2)).argmax())
            components.append(Component(label, v.volume_ml(where), subtype, place, key, (0.0, 0.0, 0.0), probability))
    heat = np.where(mask > 0, 230, 0).astype(np.uint8)
    for axis in (1, 2):
        heat = np.maximum(heat, (0.7 * np.roll(heat, 1, axis)).astype(np.uint8))
        heat = np.maximum(heat, (0.7 * np.roll(heat, -1, axis)).astype(np.uint8))
    marked = mask.any(axis=(1, 2))
    return Detection(
        study_probability=probability,
        slice_probabilities=np.where(marked, probability, 0.05).astype(np.float32),
        subtype_probabilities={"iph": 0.9, "sdh": 0.6, "ivh": 0.1},
        mask=mask,
        heat=heat,
        hematoma_volume_ml=v.volume_ml(mask > 0),
        components=tuple(components),
        key_slice_index=int(mask.any(axis=(1, 2)).nonzero()[0].mean()) if marked.any() else len(mask) // 2,
        bundle=BUNDLE,
    )


def decision(d: Detection, flagged: bool = True) -> FindingDecision:
    return FindingDecision(
        flagged=flagged,
        finding="ich",
        probability=d.study_probability,
        operating_point=POINT,
        hematoma_volume_ml=d.hematoma_volume_ml,
        subtypes=("iph", "sdh"),
        locations=(Location.DEEP, Location.EXTRA_AXIAL),
        bundle=BUNDLE,
        evidence=EvidenceLevel.E1,
    )


def headers(
    v: Volume, name: str = "SIMULATED^ADA", character_set: tuple[str, ...] = ("ISO_IR 100",)
) -> tuple[Dataset, ...]:
    """CT headers of the volume, under the volume's own UIDs."""
    exam = Exam("report tests", AT, "ACC-1")
    made = axial_series(v, Patient(name, "SIM-1", character_set=character_set), exam)
    for ds, uid in zip(made, v.sop_instance_uids, strict=True):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid
        ds.StudyInstanceUID, ds.SeriesInstanceUID = v.study_instance_uid, v.series_instance_uid
        ds.FrameOfReferenceUID = v.frame_of_reference_uid
        del ds.PixelData
    return tuple(made)


def request(
    v: Volume | None = None, sources: tuple[Dataset | Path, ...] | None = None, **changes: object
) -> ReportRequest:
    """A flagged study with two bleeds; `changes` replaces fields."""
    plain, mask = with_bleeds(v or volume())
    found = detection(plain, mask)
    made = ReportRequest(
        sources=headers(plain) if sources is None else sources,
        kinds=FLAGGED,
        identity=IDENTITY,
        node=NODE,
        at=AT,
        evidence=EvidenceLevel.E1,
        volume=plain,
        detection=found,
        decision=decision(found),
    )
    return dataclasses.replace(made, **changes)
