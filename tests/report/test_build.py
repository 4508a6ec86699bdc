from __future__ import annotations

import dataclasses
import logging
import warnings
from datetime import timedelta

import pytest

from tests.report import sample
from triage_node.domain.delivery import ObjectKind
from triage_node.domain.errors import ReportError
from triage_node.report.build import build_objects
from triage_node.report.read_back import read
from triage_node.report.sr_text import sr_as_text


def test_the_same_request_gives_the_same_bytes():
    first, second = build_objects(sample.request()), build_objects(sample.request())
    assert [f.data for f in first] == [f.data for f in second]
    assert [f.built for f in first] == [f.built for f in second]


def test_every_object_stays_in_the_study_of_its_source_and_has_a_uid_of_its_own():
    request = sample.request()
    files = build_objects(request)
    assert {f.built.study_instance_uid for f in files} == {request.volume.study_instance_uid}
    uids = [f.built.sop_instance_uid for f in files]
    assert len(set(uids)) == len(uids)
    assert all(uid.startswith("2.25.") and len(uid) <= 44 for uid in uids)
    for f in files:
        assert read(f.data).SOPInstanceUID == f.built.sop_instance_uid
        assert f.built.size_bytes == len(f.data)


def test_what_is_referred_to_comes_first_and_a_report_without_it_stands_by():
    files = build_objects(sample.request())
    kinds = [f.built.kind for f in files]
    seg = files[kinds.index(ObjectKind.SEG)].built
    with_seg, without = (f for f in files if f.built.kind is ObjectKind.FINDINGS_SR)
    assert with_seg.built.refers_to == (seg.sop_instance_uid,)
    assert without.built.refers_to == ()
    assert kinds.index(ObjectKind.SEG) < kinds.index(ObjectKind.FINDINGS_SR)
    assert with_seg.built.sop_instance_uid != without.built.sop_instance_uid
    assert "Referenced Segment" not in sr_as_text(read(without.data))
    assert "Volume: " in sr_as_text(read(without.data))


def test_another_revision_has_other_uids_and_the_instant_does_not_change_them():
    request = sample.request()
    uids = {f.built.sop_instance_uid for f in build_objects(request)}
    later = dataclasses.replace(request, at=request.at + timedelta(hours=1))
    assert {f.built.sop_instance_uid for f in build_objects(later)} == uids
    revised = dataclasses.replace(request, identity=dataclasses.replace(request.identity, revision=2))
    assert not uids & {f.built.sop_instance_uid for f in build_objects(revised)}


@pytest.mark.parametrize(
    "field", ["input_digest", "bundle_digest", "runtime", "clinical_inputs_digest", "identity_digest"]
)
def test_each_part_of_the_identity_changes_the_uids(field):
    request = sample.request(kinds=frozenset({ObjectKind.SUMMARY_SC}))
    (before,) = build_objects(request)
    other = dataclasses.replace(request.identity, **{field: "something else"})
    (after,) = build_objects(dataclasses.replace(request, identity=other))
    assert before.built.sop_instance_uid != after.built.sop_instance_uid


def test_an_unflagged_study_gives_nothing_but_the_status_that_was_asked_for():
    request = sample.request(kinds=sample.EVERYTHING)
    request = dataclasses.replace(request, decision=sample.decision(request.detection, flagged=False))
    (status,) = build_objects(request)
    assert status.built.kind is ObjectKind.NOT_FLAGGED_SR
    text = sr_as_text(read(status.data))
    assert "Processed, not flagged. This is not a negative result." in text
    assert "Presence of property: Presence Undetermined" in text
    assert "Absent" not in text
    assert "Present\n" not in text
    assert build_objects(dataclasses.replace(request, kinds=sample.FLAGGED)) == ()


def test_a_study_of_which_the_model_is_not_sure_is_never_reported_as_not_flagged():
    request = sample.request(kinds=sample.EVERYTHING)
    unsure = dataclasses.replace(sample.decision(request.detection, flagged=False), unsure=True)
    (status,) = build_objects(dataclasses.replace(request, decision=unsure))
    text = sr_as_text(read(status.data))
    assert "Processed, not sure: neither flagged nor passed. This is not a negative result." in text
    assert "not flagged." not in text
    assert "Presence of property: Presence Undetermined" in text


def test_a_study_that_was_not_analysed_says_why_and_nothing_about_blood():
    request = dataclasses.replace(
        sample.request(),
        kinds=sample.EVERYTHING,
        volume=None,
        detection=None,
        decision=None,
        not_analysed_reason="9 slices are missing between 30 and 75 mm.",
    )
    page, report = build_objects(dataclasses.replace(request, sources=request.sources[:1]))
    assert (page.built.kind, report.built.kind) == (ObjectKind.NOT_ANALYSED_SC, ObjectKind.NOT_ANALYSED_SR)
    text = sr_as_text(read(report.data))
    assert "Reason: 9 slices are missing between 30 and 75 mm." in text
    assert "Presence Undetermined" in text
    assert "Absent" not in text
    with pytest.raises(ReportError, match="reason"):
        build_objects(dataclasses.replace(request, not_analysed_reason=" "))


def test_a_flagged_study_with_an_empty_mask_has_no_segmentation_and_no_outline():
    request = sample.request()
    empty = sample.detection(request.volume, request.detection.mask * 0)
    files = build_objects(dataclasses.replace(request, detection=empty, decision=sample.decision(empty)))
    kinds = {f.built.kind for f in files}
    assert kinds == {ObjectKind.FINDINGS_SR, ObjectKind.HEATMAP_SC, ObjectKind.SUMMARY_SC}


def test_every_object_says_that_it_is_not_for_diagnosis_and_that_data_are_simulated():
    for f in build_objects(sample.request(simulation=True)):
        ds = read(f.data)
        assert "(not for diagnostic use) SIMULATED" in ds.SeriesDescription
        assert len(ds.SeriesDescription) <= 64
        if ds.Modality == "SR":
            assert (ds.CompletionFlag, ds.PreliminaryFlag, ds.VerificationFlag) == (
                "COMPLETE",
                "PRELIMINARY",
                "UNVERIFIED",
            )
            text = sr_as_text(ds)
            assert "Not for diagnostic use" in text
            assert "SIMULATED DATA" in text
            assert "Evidence E1: public real data, held-out patients" in text


def test_instants_are_told_in_the_time_zone_of_the_source():
    request = sample.request(kinds=frozenset({ObjectKind.SUMMARY_SC}))
    for s in request.sources:
        s.TimezoneOffsetFromUTC = "-0330"
    (page,) = build_objects(request)
    ds = read(page.data)
    assert (ds.ContentDate, ds.ContentTime, ds.TimezoneOffsetFromUTC) == ("20261121", "040015.250000", "-0330")


def test_no_name_of_a_patient_reaches_a_log_or_a_warning(caplog, capfd):
    request = sample.request(sources=sample.headers(sample.volume(), name="Oddname without components"))
    for s in request.sources:
        s.add_new("PatientBirthDate", "LO", "Oddbirthday")
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        files = build_objects(request)
    assert read(files[0].data).PatientName == "Oddname without components"
    said = caplog.text + "".join(str(w.message) for w in caught) + "".join(capfd.readouterr())
    assert "Oddname" not in said
    assert "Oddbirthday" not in said


def test_a_mask_of_another_shape_is_refused():
    request = sample.request()
    other = dataclasses.replace(request.detection, mask=request.detection.mask[:-1])
    with pytest.raises(ReportError, match="shape"):
        build_objects(dataclasses.replace(request, detection=other))


@pytest.mark.parametrize("probability", [float("nan"), -0.1, 1.5])
def test_what_is_no_probability_is_not_reported(probability):
    request = sample.request(kinds=frozenset({ObjectKind.FINDINGS_SR}))
    wrong = dataclasses.replace(request.detection, study_probability=probability)
    with pytest.raises(ReportError, match="probability"):
        build_objects(dataclasses.replace(request, detection=wrong))


def test_an_instant_without_zone_and_an_unknown_language_are_refused():
    with pytest.raises(ReportError, match="time zone"):
        build_objects(sample.request(at=sample.AT.replace(tzinfo=None)))
    with pytest.raises(ReportError, match="xx-XX"):
        build_objects(sample.request(language="xx-XX"))
