from __future__ import annotations

import dataclasses

import pytest

from tests.report import sample
from tests.report.test_gate import PREDICTION
from triage_node.domain.delivery import ObjectKind
from triage_node.domain.finding import FINDINGS, EvidenceLevel
from triage_node.domain.prognosis import Prediction
from triage_node.report import codes
from triage_node.report.build import build_objects
from triage_node.report.read_back import read, read_report
from triage_node.report.sr_text import sr_as_text

ONLY = frozenset({ObjectKind.FINDINGS_SR})
WITH_SEG = frozenset({ObjectKind.FINDINGS_SR, ObjectKind.SEG})


def meanings(groups) -> list[str]:
    return [g.finding_type.meaning for g in groups]


def test_the_study_and_each_subtype_have_a_group_and_each_bleed_its_volume():
    request = sample.request(kinds=WITH_SEG)
    _, file, _ = build_objects(request)
    content = read_report(file.data).content
    qualitative = content.get_image_measurement_groups()
    assert meanings(qualitative) == [FINDINGS[k].code[2] for k in ("ich", "iph", "ivh", "sah", "sdh", "edh")]
    volumes = content.get_volumetric_roi_measurement_groups()
    assert meanings(volumes) == ["Cerebral hemorrhage", "Subdural hemorrhage"]
    values = [g.get_measurements(codes.VOLUME)[0].value for g in volumes]
    mask, volume = request.detection.mask, request.volume
    assert values == [pytest.approx(volume.volume_ml(mask == k), abs=0.001) for k in (1, 2)]
    assert [g.tracking_identifier for g in volumes] == [
        "IPH-1",
        "SDH-2",
    ]


def test_only_what_the_decision_says_of_a_bleed_is_said_of_its_segment():
    """Type, place and volume need an evidence level of their own; the outline belongs to the finding."""
    request = sample.request(kinds=WITH_SEG, least_level=EvidenceLevel.E1)
    bare = dataclasses.replace(request.decision, subtypes=(), locations=(), hematoma_volume_ml=0.0)
    seg, file, _ = build_objects(dataclasses.replace(request, decision=bare))
    assert [s.SegmentLabel for s in read(seg.data).SegmentSequence] == ["Intracranial hemorrhage"] * 2
    content = read_report(file.data).content
    (first, second) = content.get_volumetric_roi_measurement_groups()
    assert meanings([first, second]) == ["Intracranial hemorrhage"] * 2
    assert [len(g.get_measurements()) for g in (first, second)] == [0, 0]
    of_study, *of_subtypes = content.get_image_measurement_groups()
    assert len(of_study.get_measurements()) == 1
    assert [len(g.get_measurements()) for g in of_subtypes] == [0] * len(of_subtypes)


def test_a_subtype_is_present_or_undetermined_and_never_absent():
    file = build_objects(sample.request(kinds=ONLY))[0]
    groups = read_report(file.data).content.get_image_measurement_groups()
    stated = {g.finding_type.meaning: g.get_qualitative_evaluations(codes.PRESENCE)[0].value.meaning for g in groups}
    assert stated == {
        "Intracranial hemorrhage": "Present",
        "Cerebral hemorrhage": "Present",
        "Subdural hemorrhage": "Present",
        "Intraventricular hemorrhage": "Presence Undetermined",
        "Subarachnoid hemorrhage": "Presence Undetermined",
        "Nontraumatic extradural hemorrhage": "Presence Undetermined",
    }
    assert b"Absent" not in file.data


def test_the_algorithm_stands_with_digest_thresholds_policy_and_evidence():
    text = sr_as_text(read(build_objects(sample.request(kinds=ONLY))[0].data))
    for said in (
        "Algorithm Name: BloodNet",
        f"model_digest=sha256:{sample.BUNDLE.digest}",
        "raise_probability=0.4",
        "notify_probability=0.7",
        "policy_version=3",
        "evidence_level=E1 (public real data, held-out patients)",
        "calibrated=no",
    ):
        assert said in text
    assert text.count("Algorithm Name") == 1


def test_the_image_library_holds_key_slices_only_and_the_evidence_all_slices():
    request = sample.request(sample.volume(slices=140, size=32, steps_mm=1.0), kinds=ONLY)
    file = build_objects(request)[0]
    assert file.built.size_bytes < 100_000
    report = read(file.data)
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert {r.ReferencedSOPInstanceUID for r in series.ReferencedSOPSequence} == set(request.volume.sop_instance_uids)


def test_a_revised_report_names_its_predecessor():
    request = sample.request(kinds=ONLY)
    (first,) = build_objects(request)
    revised = dataclasses.replace(
        request, predecessor=first, identity=dataclasses.replace(request.identity, revision=2)
    )
    (second,) = build_objects(revised)
    (study,) = read(second.data).PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (named,) = series.ReferencedSOPSequence
    assert named.ReferencedSOPInstanceUID == first.built.sop_instance_uid
    assert series.SeriesInstanceUID == first.built.series_instance_uid
    assert f"Replaces: {first.built.sop_instance_uid}" in sr_as_text(read(second.data))
    from_data_set = dataclasses.replace(revised, predecessor=read(first.data))
    assert build_objects(from_data_set)[0].data == second.data


def test_prognosis_is_written_only_when_asked_for_and_always_with_its_caution():
    assert "ICH score" not in sr_as_text(read(build_objects(sample.request(kinds=ONLY))[0].data))
    careless = dataclasses.replace(PREDICTION, caution="")
    text = sr_as_text(read(build_objects(sample.request(kinds=ONLY, predictions=(careless,)))[0].data))
    assert "ICH score: 1 to 3" in text
    assert "30-day mortality, published group: 13 to 72 %" in text
    assert "GCS: not known" in text
    assert "Missing: GCS" in text
    assert "Never a reason to limit care." in text
    groups = read_report(
        build_objects(sample.request(kinds=ONLY, predictions=(PREDICTION,)))[0].data
    ).content.get_image_measurement_groups()
    score = next(g for g in groups if g.tracking_identifier == "ICH score")
    assert [m.value for m in score.get_measurements(codes.SCORE)] == [1, 3]


def test_an_abstained_prediction_says_why_and_shows_no_figure():
    abstained = Prediction("func", "FUNC score", abstained="after trauma", score_range=(1, 2))
    text = sr_as_text(read(build_objects(sample.request(kinds=ONLY, predictions=(abstained,)))[0].data))
    assert "FUNC score: not shown, after trauma" in text
    assert "Score: " not in text


def test_every_finding_of_the_table_has_a_whole_code():
    for finding in FINDINGS.values():
        code = codes.finding_code(finding.key)
        assert code.value
        assert code.scheme_designator
        assert len(code.meaning) <= 64
    assert codes.root_finding("sdh") == "ich"
