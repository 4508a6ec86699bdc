"""The bug bundle with what names a person planted wherever a sender can write text."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pydicom
import pytest
from pydicom.datadict import DicomDictionary

from tests.support.analysed import receive
from triage_node.domain.errors import RefusedAction
from triage_node.processes.trials.bug_bundle import NOT_TOLD, bug_bundle
from triage_node.store import studies

PLANTED = ("ZWILLINGER", "19471203", "ACC7788123")
"""A name, a birth date and an accession number; no chance of theirs in a digest (no hex word) or a time."""
_TEXTS = {"AE": 16, "CS": 16, "LO": 64, "LT": 200, "PN": 64, "SH": 16, "ST": 200, "UC": 64, "UT": 200}
_KEPT = {0x00080005, 0x00080060, 0x00080008, 0x00280004}
"""Without these the study would not be read: character set, modality, image type, photometric interpretation."""


def hostile(source: Path, target: Path) -> Path:
    """The same image with name, date and number in every element of the dictionary that takes text, dates or UIDs of ours."""
    ds = pydicom.dcmread(source)
    for tag, (vr, vm, _, retired, _) in DicomDictionary.items():
        if tag in _KEPT or retired or tag >> 16 in (0x0000, 0x0002, 0x7FE0):
            continue
        name, birth, accession = PLANTED
        if vr in _TEXTS:
            ds.add_new(
                tag, vr, " ".join((name, birth, accession))[: _TEXTS[vr]] if vr not in ("SH", "CS", "AE") else name
            )
        elif vr == "DA":
            ds.add_new(tag, vr, birth)
        elif vr == "IS" and vm == "1" and tag not in ds:
            ds.add_new(tag, vr, birth)
    ds.SeriesNumber = int(PLANTED[1])
    ds.AccessionNumber, ds.PatientBirthDate = PLANTED[2], PLANTED[1]
    ds.Manufacturer, ds.ConvolutionKernel, ds.ImageComments = PLANTED[0], PLANTED[2], PLANTED[0]
    ds.BodyPartExamined, ds.ImageType = PLANTED[0], ["ORIGINAL", "PRIMARY", "AXIAL", PLANTED[0]]
    ds.save_as(target)
    return target


def members(made: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(made)) as z:
        assert all(i.date_time == (1980, 1, 1, 0, 0, 0) for i in z.infolist())
        return {name: z.read(name) for name in z.namelist()}


def test_names_dates_and_numbers_planted_in_every_text_are_nowhere_in_the_zip(past, tmp_path):
    target = tmp_path / "hostile"
    target.mkdir()
    files = []
    for i, file in enumerate(past.sent.files):
        made = hostile(file, target / file.name)
        ds = pydicom.dcmread(made)
        ds.StudyInstanceUID, ds.SeriesInstanceUID = f"1.{PLANTED[1]}.1", f"1.{PLANTED[1]}.2"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.{PLANTED[1]}.3.{i}"
        ds.save_as(made)
        files.append(made)
    uid = receive(past.role, files)
    assert uid == f"1.{PLANTED[1]}.1"
    past.to_the_end()
    study = studies.get(past.role.store, uid)
    assert PLANTED[0] in study.identity.patient_name, "nothing was planted"
    with past.role.store.write() as c:
        studies.mark(c, uid, "volume assembled", study.arrived_at, " ".join(PLANTED))
        studies.mark(c, uid, PLANTED[0][:32], study.arrived_at)
    found = members(bug_bundle(past.role.store, past.role.settings, uid))
    assert set(found) == {"README.txt", "node.json", "study.json", "decisions.json", "headers.json"}
    for name, content in found.items():
        text = name.encode() + content
        for planted in PLANTED:
            assert planted.encode() not in text.upper(), f"{planted} is in {name}"
    assert len(json.loads(found["headers.json"])) == len(files)


def test_bundle_holds_what_finds_a_bug_and_new_uids_that_still_belong_together(past):
    made = bug_bundle(past.role.store, past.role.settings, past.uid)
    found = {name: json.loads(content) for name, content in members(made).items() if name.endswith("json")}
    headers, study = found["headers.json"], found["study.json"]
    assert {h["study_instance_uid"] for h in headers} == {study["study"]} != {past.uid}
    assert {h["sop_class_uid"] for h in headers} == {"1.2.840.10008.5.1.4.1.1.2"}
    assert (headers[0]["rows"], headers[0]["modality"], headers[0]["slice_thickness_mm"]) == (128, "CT", 6.0)
    assert [e["moment"] for e in study["timeline"]][:1] == ["first byte"]
    assert found["decisions.json"]["result"]["probability"] == pytest.approx(0.9)
    assert found["decisions.json"]["result"]["answer"] == "raised"
    assert found["node.json"]["configuration"]["worklist"]["mode"] == "active"
    assert found["node.json"]["configuration"]["store"]["data_folder"] is True
    again = members(bug_bundle(past.role.store, past.role.settings, past.uid))["study.json"]
    assert json.loads(again)["study"] != study["study"], "the key outlived its bundle"
    assert {"patient_name", "patient_id", "patient_birth_date", "accession_number", "study_date"} <= NOT_TOLD


def test_study_that_is_not_there_has_no_bundle(past):
    with pytest.raises(RefusedAction):
        bug_bundle(past.role.store, past.role.settings, "1.2.3.4")
