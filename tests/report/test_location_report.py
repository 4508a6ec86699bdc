from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.report import sample
from triage_node.domain.delivery import ObjectKind
from triage_node.report import codes
from triage_node.report.build import build_objects
from triage_node.report.location_report import OHIF_TOOL
from triage_node.report.read_back import read, read_report
from triage_node.report.sr_text import sr_as_text

ONLY = frozenset({ObjectKind.LOCATION_SR})


def test_only_located_groups_one_for_each_bleed_on_its_key_slice():
    """OHIF opens a report that mixes located groups with others as a black viewport."""
    request = sample.request(kinds=ONLY)
    (file,) = build_objects(request)
    content = read_report(file.data).content
    groups = content.get_image_measurement_groups()
    assert len(groups) == 2
    assert content.get_volumetric_roi_measurement_groups() == []
    assert content.get_planar_roi_measurement_groups() == []
    for label, group in enumerate(groups, start=1):
        (area,) = group.get_measurements(codes.AREA)
        plane = request.detection.mask == label
        key = int(plane.sum(axis=(1, 2)).argmax())
        assert area.value == pytest.approx(plane[key].sum() * request.volume.pixel_area_mm2, abs=0.06)
        (where,) = (
            [i for i in area.ContentSequence if i.ValueType == "SCOORD"]
            if hasattr(area, "ContentSequence")
            else ([i for i in area[0].ContentSequence if i.ValueType == "SCOORD"])
        )
        (image,) = where.ContentSequence
        assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == request.volume.sop_instance_uids[key]
        points = np.array(where.GraphicData).reshape(-1, 2)
        assert points[0].tolist() == points[-1].tolist()
        rows, columns = np.nonzero(plane[key])
        assert points.min(axis=0).tolist() == [columns.min(), rows.min()]
        assert points.max(axis=0).tolist() == [columns.max() + 1, rows.max() + 1]


def test_the_form_that_ohif_draws_names_its_tool_and_warns_of_its_figures():
    request = sample.request(kinds=ONLY)
    (plain,) = build_objects(request)
    (drawn,) = build_objects(dataclasses.replace(request, outlines_for_ohif=True))
    identifiers = {g.tracking_identifier for g in read_report(drawn.data).content.get_image_measurement_groups()}
    assert identifiers == {OHIF_TOOL}
    assert "viewer's, not this report's" in sr_as_text(read(drawn.data))
    assert plain.built.sop_instance_uid != drawn.built.sop_instance_uid
    assert OHIF_TOOL.encode() not in plain.data
