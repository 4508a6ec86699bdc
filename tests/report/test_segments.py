from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from tests.report import sample
from triage_node.domain.delivery import ObjectKind
from triage_node.report.build import build_objects
from triage_node.report.read_back import read, read_segmentation
from triage_node.report.segments import outline, segments_of


def area(border: np.ndarray) -> float:
    x, y = border[:-1].T
    x2, y2 = border[1:].T
    return float((x * y2 - x2 * y).sum() / 2)


def test_the_outline_of_one_pixel_is_its_square():
    region = np.zeros((5, 6), bool)
    region[2, 3] = True
    border, size = outline(region)
    assert size == 1
    assert border.tolist() == [[3, 2], [4, 2], [4, 3], [3, 3], [3, 2]]


@settings(max_examples=150, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_the_outline_encloses_the_largest_part_with_its_holes(region):
    if not region.any():
        with pytest.raises(ValueError, match="empty"):
            outline(region)
        return
    border, size = outline(region)
    assert border[0].tolist() == border[-1].tolist()
    parts, count = ndimage.label(region)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    assert size == sizes.max()
    part = parts == 1 + int(sizes.argmax())
    assert area(border) == pytest.approx(ndimage.binary_fill_holes(part, np.ones((3, 3))).sum())


def test_segments_are_numbered_without_gaps_by_size():
    volume = sample.volume()
    _, mask = sample.with_bleeds(volume)
    mask = np.where(mask == 1, 9, np.where(mask == 2, 200, 0)).astype(np.uint8)
    detection = sample.detection(volume, mask)
    found = segments_of(detection, volume, sample.decision(detection))
    assert [(s.number, s.label, s.finding) for s in found] == [(1, 9, "ich"), (2, 200, "ich")]
    assert [s.volume_ml for s in found] == [pytest.approx(volume.volume_ml(mask == k)) for k in (9, 200)]


def test_the_seg_holds_marked_frames_only_on_the_geometry_of_the_source():
    request = sample.request(kinds=frozenset({ObjectKind.SEG}))
    (file,) = build_objects(request)
    ds = read(file.data)
    mask = request.detection.mask
    marked = sum(int((mask == k).any(axis=(1, 2)).sum()) for k in (1, 2))
    assert ds.NumberOfFrames == marked
    assert ds.SegmentationType == "BINARY"
    assert ds.ContentQualification == "RESEARCH"
    (series,) = ds.ReferencedSeriesSequence
    assert len(series.ReferencedInstanceSequence) == len(mask)
    positions = {tuple(f.PlanePositionSequence[0].ImagePositionPatient) for f in ds.PerFrameFunctionalGroupsSequence}
    source = {tuple(s.ImagePositionPatient) for s, m in zip(request.sources, mask, strict=True) if m.any()}
    assert positions == source


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_any_number_of_frames_and_odd_sizes_are_packed_and_read_back(slices, seed):
    """Frames whose pixels do not fill whole bytes share them (PS3.5 8.1.1); writers got this wrong before."""
    rng = np.random.default_rng(seed)
    volume = sample.volume(slices=max(slices, 2), size=7 + int(rng.integers(0, 9)))
    mask = (rng.random(volume.hu.shape) < 0.3).astype(np.uint8)
    mask[0, 0, 0] = 1
    request = sample.request(volume, kinds=frozenset({ObjectKind.SEG}))
    request = dataclasses.replace(request, volume=volume, detection=sample.detection(volume, mask))
    (file,) = build_objects(request)
    planes = read_segmentation(file.data).get_pixels_by_source_instance(
        list(volume.sop_instance_uids), segment_numbers=[1], assert_missing_frames_are_empty=True
    )
    assert np.array_equal(planes[..., 0], mask)


def test_many_small_bleeds_are_written():
    """highdicom issue 202: dozens of segments once took minutes."""

    volume = sample.volume(slices=10, size=128)
    mask = np.zeros(volume.hu.shape, np.uint8)
    for label in range(1, 61):
        r, c = divmod(label, 8)
        mask[label % 10, 10 + 12 * r : 14 + 12 * r, 10 + 12 * c : 14 + 12 * c] = label
    request = sample.request(volume, kinds=frozenset({ObjectKind.SEG, ObjectKind.FINDINGS_SR, ObjectKind.LOCATION_SR}))
    request = dataclasses.replace(request, detection=sample.detection(volume, mask))
    files = build_objects(request)
    assert len(read(files[0].data).SegmentSequence) == 60
