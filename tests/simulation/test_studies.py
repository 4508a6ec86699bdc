"""The demo's eight studies: what the issue asks for, live when they are sent, with heads that no training saw."""

from datetime import UTC, datetime, timedelta

import pydicom
import pytest

from triage_node.domain.priority import OrderClass
from triage_node.simulation.phantom import FIRST_DEMO_SEED
from triage_node.simulation.studies import Expected, demo_studies, write_studies

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def test_eight_studies_with_the_bleeds_last():
    studies = demo_studies(NOW)
    assert [s.name for s in studies] == [
        "normal",
        "localizer only",
        "thin slices",
        "contrast only",
        "IPH small",
        "SAH with IVH",
        "SDH",
        "IPH large",
    ]
    assert [s.expected for s in studies[4:]] == [Expected.FLAGGED] * 4
    assert {s.name for s in studies if s.expected is Expected.DECLINED} == {"localizer only", "contrast only"}
    assert {s.order_class for s in studies} == set(OrderClass)
    thin = studies[2]
    assert (thin.slices, thin.slice_thickness_mm) == (140, 1.0)


def test_every_study_was_scanned_within_the_last_quarter_of_an_hour_and_none_in_the_future():
    for study in demo_studies(NOW):
        assert NOW - timedelta(minutes=15) < study.exam.started <= NOW - timedelta(minutes=1)


def test_studies_differ_in_every_identifier_and_from_run_to_run():
    studies, later = demo_studies(NOW), demo_studies(NOW + timedelta(minutes=1))
    for identifiers in (
        {s.exam.study_uid for s in (*studies, *later)},
        {(s.patient.patient_id, s.exam.started) for s in (*studies, *later)},
    ):
        assert len(identifiers) == 16
    assert len({s.exam.accession for s in studies}) == 8
    assert all(s.patient.name.startswith("SIMULATED^") and s.patient.patient_id.startswith("SIM-") for s in studies)


def test_heads_of_the_training_range_are_refused():
    assert min(s.anatomy_seed for s in demo_studies(NOW)) > FIRST_DEMO_SEED
    with pytest.raises(ValueError, match="training"):
        demo_studies(NOW, seed=8999)


def test_studies_are_written_by_name_in_scanner_order_and_reported_as_they_finish(tmp_path):
    studies = [s for s in demo_studies(NOW) if s.name in ("localizer only", "contrast only")]
    heard = []
    written = write_studies(studies, tmp_path, workers=2, on_progress=lambda s, files: heard.append((s.name, files)))
    assert sorted(heard) == [("contrast only", 31), ("localizer only", 1)]
    assert list(written) == ["localizer only", "contrast only"]
    scout, contrast = (pydicom.dcmread(written[name][-1]) for name in written)
    assert scout.ImageType[2] == "LOCALIZER"
    assert contrast.ContrastBolusAgent
    assert contrast.StationName == "SIMCT2"
    assert str(contrast.PatientName) == "SIMULATED^CONTRAST ONLY"
    assert contrast.PatientAge == "063Y"
