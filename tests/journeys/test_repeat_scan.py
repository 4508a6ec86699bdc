"""A second scan in the same study is read too: after a fit or a fall in hospital it may show what the first did not."""

from pathlib import Path

import pydicom
import pytest

from tests.journeys import modality
from tests.support.node import node
from tests.support.pacs import free_port
from tests.support.waiting import wait_until
from triage_node.simulation.phantom_bleeds import Bleed

BLEED = Bleed("iph", 40.0, (-34.0, 20.0, 10.0), 66.0)
pytestmark = [pytest.mark.slow, pytest.mark.prove, pytest.mark.timeout(400)]


def as_repeat_of(first: modality.Sent, other: modality.Sent) -> modality.Sent:
    """`other` as a further series of the study and the patient of `first`; its own time of acquisition stays."""
    model = pydicom.dcmread(first.files[0], stop_before_pixels=True)
    for file in other.files:
        ds = pydicom.dcmread(file)
        for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID"):
            setattr(ds, keyword, getattr(model, keyword, ""))
        ds.StudyDate, ds.StudyTime, ds.AccessionNumber = model.StudyDate, model.StudyTime, model.AccessionNumber
        ds.SeriesNumber, ds.AcquisitionTime = 7, "235959"
        ds.save_as(file)
    return other


def test_repeat_scan_with_a_bleed_raises_a_study_that_was_not_raised_and_nothing_lowers_it(tmp_path: Path) -> None:
    at = modality.now()
    first = modality.phantom(tmp_path, "first", at, seed=9055, size=256)
    repeat = as_repeat_of(first, modality.phantom(tmp_path, "repeat", at, (BLEED,), seed=9055, size=256))
    third = modality.phantom(tmp_path, "third", at, seed=9056, size=256)
    third = as_repeat_of(first, third)
    port = free_port()
    with node(tmp_path / "node", [], dicom_port=port) as running:
        modality.send(first.files, port, associations=1)
        running.wait_for_state(first.uid, {"reported", "delivered"}, 120)
        assert running.study(first.uid)["revision"] == 1
        assert not flagged(running, first.uid)

        modality.send(repeat.files, port, associations=1)
        wait_until(lambda: flagged(running, first.uid), 120, "the flag of the repeat scan")
        running.wait_for_state(first.uid, {"reported", "delivered"}, 120)

        modality.send(third.files, port, associations=1)
        wait_until(lambda: running.study(first.uid)["instances"] == 96, 60, "the third scan")
        running.wait_for_state(first.uid, {"reported", "delivered"}, 120)
        assert flagged(running, first.uid)


def flagged(running, study_instance_uid: str) -> bool:
    return any(r["flag"] for r in running.rows() if r["study_instance_uid"] == study_instance_uid)
