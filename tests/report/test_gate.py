"""STANDARDS.md 2.8.6: independent validators and readers accept every kind of object, on easy and on hard geometry."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import pytest

from tests.report import sample, validators
from tests.support.unpacked import ge_head
from triage_node.domain.delivery import ObjectKind
from triage_node.domain.geometry import slice_extents
from triage_node.domain.prognosis import Prediction, ScoreItem
from triage_node.domain.volume import Volume
from triage_node.report.build import build_objects
from triage_node.report.read_back import read, read_capture, read_report, read_segmentation
from triage_node.report.rejection_note import Rejection, RejectionRequest, build_rejection_note
from triage_node.report.request import BuiltFile, ReportRequest

MIXED_STEPS = np.array([4.0] * 5 + [1.08] + [7.0] * 5)
PREDICTION = Prediction(
    name="ich_score",
    label="ICH score",
    items=(ScoreItem("GCS", False, "", None, (0, 2)), ScoreItem("Volume", True, "18 mL", 0, (0, 0))),
    missing=("GCS",),
    score_range=(1, 3),
    columns=(("30-day mortality, published group", 13.0, 72.0, "%"),),
    source="Hemphill 2001",
)


def ge_volume() -> tuple[Volume, tuple[Path, ...]]:
    """The real GE study (tilted, three steps) with the sample's bleeds painted in."""
    paths = ge_head()
    images = [pydicom.dcmread(p) for p in paths]
    row, column = np.array(images[0].ImageOrientationPatient[:3]), np.array(images[0].ImageOrientationPatient[3:])
    normal = np.cross(row, column)
    images.sort(key=lambda d: float(np.array(d.ImagePositionPatient) @ normal))
    origins = np.array([d.ImagePositionPatient for d in images], dtype=float)
    thickness = np.array([d.SliceThickness for d in images], dtype=float)
    return (
        Volume(
            hu=np.stack([d.pixel_array for d in images]).astype(np.int16),
            origins_mm=origins,
            row_cosine=row,
            column_cosine=column,
            pixel_spacing_mm=tuple(float(s) for s in images[0].PixelSpacing),
            slice_extent_mm=slice_extents(origins @ normal, list(thickness)),
            slice_thickness_mm=thickness,
            frame_of_reference_uid=images[0].FrameOfReferenceUID,
            study_instance_uid=images[0].StudyInstanceUID,
            series_instance_uid=images[0].SeriesInstanceUID,
            sop_instance_uids=tuple(d.SOPInstanceUID for d in images),
        ),
        tuple(paths),
    )


def all_kinds(request: ReportRequest) -> tuple[BuiltFile, ...]:
    """Every kind of object that this study could give, a revised report and a withdrawal included."""
    flagged = build_objects(dataclasses.replace(request, predictions=(PREDICTION,)))
    report = next(f for f in flagged if f.built.kind is ObjectKind.FINDINGS_SR)
    second = dataclasses.replace(request.identity, revision=2)
    return (
        *flagged,
        *build_objects(
            dataclasses.replace(request, identity=second, predecessor=report, kinds=frozenset({ObjectKind.FINDINGS_SR}))
        ),
        *build_objects(dataclasses.replace(request, kinds=frozenset({ObjectKind.LOCATION_SR}), outlines_for_ohif=True)),
        *build_objects(
            dataclasses.replace(
                request, kinds=sample.EVERYTHING, decision=sample.decision(request.detection, flagged=False)
            )
        ),
        *build_objects(
            dataclasses.replace(
                request,
                kinds=sample.EVERYTHING,
                volume=None,
                detection=None,
                decision=None,
                not_analysed_reason="9 slices are missing.",
            )
        ),
        build_rejection_note(
            RejectionRequest([f.data for f in flagged], Rejection.QUALITY, "Superseded.", sample.NODE, sample.AT)
        ),
    )


@cache
def study(name: str) -> tuple[ReportRequest, tuple[BuiltFile, ...]]:
    match name:
        case "plain":
            request = sample.request(simulation=True)
        case "tilted, mixed steps":
            request = sample.request(sample.volume(steps_mm=MIXED_STEPS, tilt_deg=18.5))
        case "140 thin slices":
            request = sample.request(sample.volume(slices=140, size=64, steps_mm=1.0, thickness_mm=1.0))
        case "real GE":
            volume, paths = ge_volume()
            request = sample.request(volume, sources=paths)
        case _:
            raise AssertionError(name)
    return request, all_kinds(request)


STUDIES = ["plain", "tilted, mixed steps", "140 thin slices", "real GE"]


@pytest.mark.parametrize("name", STUDIES)
def test_dciodvfy_finds_no_error_and_no_warning_in_any_kind(name, tmp_path):
    request, files = study(name)
    assert {f.built.kind for f in files} == set(ObjectKind)
    first_of_kind = {f.built.kind: f for f in reversed(files)}
    some = [f for f in files if f.built.kind is not ObjectKind.HEATMAP_SC] + [first_of_kind[ObjectKind.HEATMAP_SC]]
    complaints = {p.name: validators.dciodvfy(p) for p in validators.written(tuple(some), tmp_path)}
    if name == "real GE":
        # this scan came de-identified: it has no study date, ID and proper name, and what is said of it is said of ours
        of_source = set(validators.dciodvfy(request.sources[0]))
        complaints = {path: [c for c in said if c not in of_source] for path, said in complaints.items()}
    assert not {path: said for path, said in complaints.items() if said}


@pytest.mark.parametrize("name", STUDIES)
def test_dcentvfy_knows_only_the_artefact_beside_the_source(name, tmp_path):
    request, files = study(name)
    # revisions of one result live in one study; what was not analysed says so in place of the others
    sources = (
        list(request.sources)
        if isinstance(request.sources[0], Path)
        else validators.with_pixels(request.sources, tmp_path / "ct")
    )
    contradictions = validators.dcentvfy(validators.written(files, tmp_path) + sources)
    if name == "real GE":
        # the source lacks these although they are of type 2, or has them without the value that they need
        faults = ("PatientBirthDate", "PatientSex", "PatientIdentityRemoved", "DeidentificationMethod")
        contradictions = [c for c in contradictions if not any(f"=<{f}>" in c for f in faults)]
    assert contradictions == []


@pytest.mark.parametrize("name", STUDIES)
def test_dsrdump_parses_every_report_and_the_withdrawal(name, tmp_path):
    _, files = study(name)
    reports = tuple(f for f in files if f.built.sop_class_uid in validators.SR_CLASSES)
    assert len(reports) >= 8
    texts = [validators.dsrdump(p) for p in validators.written(reports, tmp_path)]
    findings = next(t for f, t in zip(reports, texts, strict=True) if f.built.kind is ObjectKind.FINDINGS_SR)
    assert "Intracranial hemorrhage" in findings
    assert "Not for diagnostic use" in findings


@pytest.mark.parametrize("name", ["plain", "140 thin slices"])
def test_dcmqi_reads_the_mask_voxel_by_voxel_and_its_milliliters(name, tmp_path):
    """Even steps only: dcmqi knows one step and no shear, and so cannot hold a tilted or mixed stack."""
    request, files = study(name)
    seg = next(f for f in files if f.built.kind is ObjectKind.SEG)
    (path,) = validators.written((seg,), tmp_path)
    segments = validators.dcmqi_segments(path, tmp_path / "segments")
    mask, volume = request.detection.mask, request.volume
    assert len(segments) == 2
    for label, (read_mask, origin, voxel_ml) in enumerate(segments, start=1):
        step = volume.positions_mm[1] - volume.positions_mm[0]
        first = round(float((origin - volume.origins_mm[0]) @ volume.normal) / step)
        placed = np.zeros(mask.shape, bool)
        placed[first : first + len(read_mask)] = read_mask > 0
        assert np.array_equal(placed, mask == label)
        assert (read_mask > 0).sum() * voxel_ml == pytest.approx(volume.volume_ml(mask == label), rel=1e-4)


@pytest.mark.parametrize("name", STUDIES)
def test_dcmqi_reads_the_volumes_and_the_link_to_the_mask_from_the_report(name, tmp_path):
    request, files = study(name)
    seg = next(f for f in files if f.built.kind is ObjectKind.SEG)
    report = next(f for f in files if f.built.refers_to == (seg.built.sop_instance_uid,))
    (path,) = validators.written((report,), tmp_path)
    measured = [
        m for m in validators.dcmqi_report(path, tmp_path)["Measurements"] if m.get("segmentationSOPInstanceUID")
    ]
    assert [m["segmentationSOPInstanceUID"] for m in measured] == [seg.built.sop_instance_uid] * 2
    mask, volume = request.detection.mask, request.volume
    for m in measured:
        (item,) = m["measurementItems"]
        assert item["units"]["CodeValue"] == "ml"
        in_mask = volume.volume_ml(mask == m["ReferencedSegment"])
        assert float(item["value"]) == pytest.approx(in_mask, abs=0.001)


@pytest.mark.parametrize("name", STUDIES)
def test_highdicom_reads_mask_report_and_pictures_back_from_bytes(name):
    request, files = study(name)
    volume, mask = request.volume, request.detection.mask
    by_kind = {f.built.kind: f.data for f in reversed(files)}
    seg = read_segmentation(by_kind[ObjectKind.SEG])
    for number, label in enumerate((1, 2), start=1):
        planes = seg.get_pixels_by_source_instance(
            list(volume.sop_instance_uids), segment_numbers=[number], assert_missing_frames_are_empty=True
        )
        assert np.array_equal(planes[..., 0] > 0, mask == label)
    report = read_report(by_kind[ObjectKind.FINDINGS_SR])
    groups = report.content.get_volumetric_roi_measurement_groups()
    seg_groups = {str(d.TrackingUID) for d in seg.SegmentSequence}
    assert {str(g.tracking_uid) for g in groups} == seg_groups
    assert read_capture(by_kind[ObjectKind.HEATMAP_SC]).shape[:2] == mask.shape[1:]


@pytest.mark.parametrize("name", STUDIES)
def test_heatmaps_lie_on_their_source_slices(name):
    request, files = study(name)
    heatmaps = [read(f.data) for f in files if f.built.kind is ObjectKind.HEATMAP_SC]
    shown = request.detection.mask.any(axis=(1, 2))
    assert len(heatmaps) == shown.sum() + 2
    index = {uid: i for i, uid in enumerate(request.volume.sop_instance_uids)}
    sources = [s if not isinstance(s, Path) else pydicom.dcmread(s, stop_before_pixels=True) for s in request.sources]
    by_uid = {s.SOPInstanceUID: s for s in sources}
    for ds in heatmaps:
        uid = ds.SourceImageSequence[0].ReferencedSOPInstanceUID
        source = by_uid[uid]
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            assert ds[keyword].value == source[keyword].value
        assert ds.FrameOfReferenceUID == source.FrameOfReferenceUID
        assert ds.InstanceNumber == source.InstanceNumber
        assert (ds.Rows, ds.Columns) == request.volume.hu.shape[1:]
        assert np.allclose(ds.ImagePositionPatient, request.volume.origins_mm[index[uid]], atol=1e-3)


def test_objects_of_32_slices_stay_small():
    files = build_objects(sample.request(sample.volume(slices=32, size=512)))
    assert sum(f.built.size_bytes for f in files) < 16 << 20
