"""Prognosis of a flagged study: made once from pixels, again when facts arrive, never in objects unless that is allowed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from tests.journeys import modality
from tests.support.analysed import analysis, close, receive, settings_in
from tests.support.people import EVERYBODY, page_of
from triage_node.config.schema import PrognosisSettings, Settings
from triage_node.datasets.dicom_slices import read_header
from triage_node.domain.clinical import ClinicalEntry
from triage_node.domain.errors import StatementConflict
from triage_node.domain.finding import BundleIdentity, Detection, EvidenceLevel, OperatingPoint
from triage_node.domain.instance import ReceivedInstance
from triage_node.domain.priority import Mode
from triage_node.domain.prognosis import ClinicalFacts, Estimate, Prediction
from triage_node.domain.study import StudyEvent, StudyIdentity, StudyState
from triage_node.domain.volume import Volume
from triage_node.processes import clinical, identity, prognosis
from triage_node.processes.analysis import Analysis
from triage_node.processes.prognosis import image_facts
from triage_node.processes.reporting import Reporter
from triage_node.processes.running import Running, now
from triage_node.processes.study_details import study_details
from triage_node.simulation.phantom import head
from triage_node.store import audit, instances, policy, results, studies, worklist
from triage_node.store import prognosis as stored

CT = "1.2.840.10008.5.1.4.1.1.2"
AFTER_SURGERY = "after surgery: only for a head that was not operated on"


class Example:
    """A model that counts how often it is asked for pixels."""

    name, label = "example", "Example model"
    identity = BundleIdentity("example", "1.0.0", "e" * 64, "test", {"example": EvidenceLevel.E0})
    asked = 0
    fails = False

    def measure(self, volume: Volume, detection: Detection) -> dict[str, Any]:
        type(self).asked += 1
        if self.fails:
            raise ValueError("broken")
        return {"slices": len(volume.hu), "mask_voxels": int((detection.mask > 0).sum())}

    def predict(self, measured: Mapping[str, Any], detection: Detection, facts: ClinicalFacts) -> Prediction:
        known = facts.gcs is not None
        return Prediction(
            self.name,
            self.label,
            missing=() if known else ("GCS",),
            estimates=(Estimate("slices", measured["slices"], 0, 99 if not known else 40, ""),),
            used=(("GCS", str(facts.gcs)),) if known else (),
            model="example 1.0.0",
            evidence="E0",
        )


@pytest.fixture(scope="module")
def bleed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    folder = tmp_path_factory.mktemp("bleed")
    return modality.phantom(folder, "prognosis", modality.now(), seed=9071, slices=24, thickness_mm=6.0, size=128).files


@pytest.fixture
def role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Analysis]:
    folder = tmp_path / "example"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text("{}")
    monkeypatch.setitem(prognosis.FACTORIES, "example", lambda folder, threads: Example())
    monkeypatch.setattr(Example, "asked", 0)
    settings = settings_in(
        tmp_path / "node", text=f'[prognosis]\nbundles = ["{folder}", "no_such_model"]\n[worklist]\nmode = "active"\n'
    )
    with analysis(settings) as made:
        yield made


def state_facts(role: Analysis, uid: str, entry: ClinicalEntry, seen: int = 0) -> None:
    clinical.take_in(role.store, prognosis.ZoneInfo("UTC"), uid, entry, "Dr. Lee", "form", seen, now())


def made_for(role: Analysis, uid: str) -> stored.PrognosisRecord:
    record = results.latest(role.store, uid)
    assert record is not None
    made = stored.latest(role.store, uid, record.revision)
    assert made is not None
    return made


def named(made: stored.PrognosisRecord) -> dict[str, Prediction]:
    return {p.name: p for p in made.predictions}


def test_facts_that_come_later_revise_the_prognosis_without_pixels_or_a_new_result(role, bleed):
    uid = receive(role, bleed)
    assert role.work()
    first = made_for(role, uid)
    assert (first.revision, first.clinical_revision, Example.asked) == (1, 0, 1)
    assert set(named(first)) == {"ich_score", "func", "brain", "nag", "bat", "example"}
    assert named(first)["nag"].abstained == "not computable: NIHSS, anticoagulant, glucose not known"
    assert "GCS" in named(first)["ich_score"].missing
    assert named(first)["example"].missing == ("GCS",)
    assert first.measured["example"]["mask_voxels"] > 0
    assert not role.restate()

    for image in instances.of_study(role.store, uid):
        role.received.remove(image.sha256)
    state_facts(role, uid, ClinicalEntry(gcs=9, trauma=False, nihss=12, glucose_mg_dl=140.0, on_anticoagulant=False))
    assert role.restate()
    second = made_for(role, uid)
    assert (second.revision, second.clinical_revision, Example.asked) == (2, 1, 1)
    assert second.clinical_inputs_digest != first.clinical_inputs_digest
    score = named(second)["ich_score"]
    assert (score.missing, score.score_range[0] == score.score_range[1]) == ((), True)
    assert any(i.value.startswith("9 (entered by Dr. Lee, ") for i in score.items)
    assert named(second)["nag"].score_range == (2, 2)
    assert named(second)["nag"].columns[0][1] == 60.0
    assert named(second)["bat"].abstained.startswith("not computable: ")
    assert named(second)["example"].used == (("GCS", "9"),)
    assert second.measured == first.measured
    assert not role.restate()
    record = results.latest(role.store, uid)
    assert (record.revision, record.detail["clinical_inputs_digest"]) == (1, "")
    assert [e.moment for e in studies.timeline_of(role.store, uid)][-2:] == [
        "clinical facts entered",
        "prognosis computed",
    ]


def test_after_surgery_prognosis_abstains_by_name_and_the_flag_stays(role, bleed):
    uid = receive(role, bleed)
    role.work()
    state_facts(role, uid, ClinicalEntry(after_surgery=True))
    role.restate()
    assert {p.abstained for p in made_for(role, uid).predictions} == {AFTER_SURGERY}
    assert results.latest(role.store, uid).flagged


def test_a_model_that_fails_says_so_and_costs_neither_the_flag_nor_the_scores(role, bleed, monkeypatch):
    monkeypatch.setattr(Example, "fails", True)
    uid = receive(role, bleed)
    assert role.work()
    said = named(made_for(role, uid))
    assert said["example"].abstained == "the images were not measured for it"
    assert said["ich_score"].score_range is not None
    assert studies.get(role.store, uid).state in (StudyState.REPORTED, StudyState.DELIVERED)


def test_a_prediction_that_is_no_number_is_not_stored(role, bleed, monkeypatch):
    monkeypatch.setattr(Example, "measure", lambda self, volume, detection: {"slices": float("nan")})
    uid = receive(role, bleed)
    role.work()
    assert named(made_for(role, uid))["example"].abstained == "the images were not measured for it"


def test_images_outside_the_envelope_are_not_measured(role, bleed, monkeypatch):
    monkeypatch.setattr(prognosis.envelope, "LEAST_COVERAGE_MM", 1000.0)
    uid = receive(role, bleed)
    role.work()
    reasons = {p.abstained.partition(":")[0] for p in made_for(role, uid).predictions}
    assert (reasons, Example.asked) == ({"coverage"}, 0)
    assert results.latest(role.store, uid).flagged


def become(role: Analysis, uid: str, who: StudyIdentity) -> None:
    with role.store.write() as c:
        studies.correct_identity(c, uid, who, now(), "PACS")


def test_facts_of_one_patient_do_not_follow_the_study_to_another(role, bleed):
    uid = receive(role, bleed)
    role.work()
    state_facts(role, uid, ClinicalEntry(gcs=9))
    role.restate()
    assert "GCS" not in named(made_for(role, uid))["ich_score"].missing
    who = studies.get(role.store, uid).identity
    become(role, uid, prognosis.replace(who, patient_id="OTHER"))
    known = clinical.known_facts(
        role.store, uid, prognosis.instances.of_study(role.store, uid), prognosis.ZoneInfo("UTC")
    )
    assert (known.facts.gcs, known.revision) == (None, 1)
    assert [applies for _, applies in clinical.statements(role.store, studies.get(role.store, uid))] == [False]
    state_facts(role, uid, ClinicalEntry(gcs=9), seen=1)
    assert [applies for _, applies in clinical.statements(role.store, studies.get(role.store, uid))] == [False, True]
    become(role, uid, prognosis.replace(who, patient_id="OTHER", accession_number="ANOTHER"))
    assert [applies for _, applies in clinical.statements(role.store, studies.get(role.store, uid))] == [False, True]


def test_a_study_of_which_the_model_is_not_sure_says_so_on_list_page_and_in_the_audit(role, bleed):
    policy.add(role.store, [OperatingPoint("ich", 0.5, 0.8, 0, 0.3)], "test", "a band", now())
    role.detector.probability = 0.4
    uid = receive(role, bleed)
    role.work()
    (listed,) = worklist.rows(role.store)
    assert (listed.row.unsure, listed.row.flag) == (True, None)
    details = study_details(role.store, role.blobs.built, uid, shows_names=True)
    assert details.result_words == "Not sure: neither raised nor passed"
    assert details.outputs[0].value == "not sure"
    assert details.outputs[0].operating_point.startswith("not sure 0.300, raise 0.500, notify 0.800")
    assert [a for _, _, a in audit.entries(role.store, uid)].count("answer") == 1
    assert [e.detail for e in studies.timeline_of(role.store, uid) if e.moment == "decided"] == ["not sure"]


ARCHIVE = """
[[archives]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
kinds = ["findings_sr", "location_sr", "seg", "heatmap_sc", "summary_sc"]
[worklist]
mode = "active"
[prognosis]
bundles = []
"""


def objects_with(
    folder: Path, text: str, files: tuple[Path, ...], entry: ClinicalEntry | None = None
) -> dict[str, bytes]:
    """SOP Instance UID -> bytes of everything that was built for a study, after facts came where there are any."""
    with analysis(settings_in(folder, text=text)) as role:
        uid = receive(role, files)
        assert role.work()
        if entry is not None:
            state_facts(role, uid, entry)
            assert role.restate()
            study = studies.get(role.store, uid)
            if study.state is StudyState.RECEIVING:  # as the scheduler does
                with role.store.write() as c:
                    studies.close(c, uid, "deadline", False, now(), study.instances)
                assert role.work()
        return {o.sop_instance_uid: role.reporter.path(o).read_bytes() for o in results.objects_of(role.store, uid)}


def test_objects_hold_no_prognosis_by_default_and_are_the_same_whatever_is_known(tmp_path, bleed):
    plain = objects_with(tmp_path / "a", ARCHIVE, bleed)
    facts = objects_with(tmp_path / "b", ARCHIVE, bleed, ClinicalEntry(gcs=9, trauma=False))
    assert len(plain) >= 5
    assert set(plain) == set(facts)
    for data in (*plain.values(), *facts.values()):
        assert b"score" not in data.lower()
        assert b"30-day" not in data


def test_objects_hold_a_prognosis_only_when_switched_on_and_facts_give_them_other_uids(tmp_path, bleed):
    text = ARCHIVE + "in_objects = true\n"
    before = objects_with(tmp_path / "a", text, bleed)
    after = objects_with(tmp_path / "b", text, bleed, ClinicalEntry(gcs=9, trauma=False))
    assert sum(b"ICH score" in data for data in before.values()) >= 1
    assert sum(b"entered by Dr. Lee" in data for data in after.values()) >= 1
    assert not set(before) & set(after)


@pytest.mark.parametrize(
    ("in_objects", "simulation", "mode", "level", "told"),
    [
        (False, False, Mode.ACTIVE, "E3", False),
        (True, False, Mode.OBSERVE, "E3", False),
        (True, False, Mode.ACTIVE, "E0", False),
        (True, False, Mode.ACTIVE, "E1", False),
        (True, False, Mode.ACTIVE, "", False),
        (True, False, Mode.ACTIVE, "E2", True),
        (True, True, Mode.ACTIVE, "E0", True),
    ],
)
def test_prognosis_in_objects_follows_the_gate(in_objects, simulation, mode, level, told):
    settings = Settings(prognosis=PrognosisSettings(in_objects=in_objects))
    reporter = Reporter(None, settings, Example.identity, simulation, mode)
    prediction = Prediction("ich_score", "ICH score", score_range=(1, 3), evidence=level)
    assert reporter.told((prediction,)) == ((prediction,) if told else ())


def test_facts_posted_to_the_page_reach_the_prognosis_that_the_page_shows(role, bleed):
    uid = receive(role, bleed)
    role.work()
    running = Running("web", role.settings, role.store, role.running.stop)
    client = page_of(running)
    assert "Not known: GCS" in client.get(f"/studies/{uid}").text
    body = {"entered_by": "Dr. Lee", "seen_revision": 0, "gcs": 9, "trauma": False}
    assert client.post(f"/api/studies/{uid}/clinical", json=body).status_code == 201
    assert "facts entered since are being taken in" in client.get(f"/studies/{uid}").text
    assert role.restate()
    page = client.get(f"/studies/{uid}").text
    assert "being taken in" not in page
    assert f"GCS: 9 (entered by Dr. Lee ({EVERYBODY}), " in page
    wrong = client.post(f"/api/studies/{uid}/clinical", json=body | {"seen_revision": 1, "age_years": 12})
    assert wrong.json()["problems"] == ["Age: the images say 61 years. Is it this patient?"]


def test_nothing_is_taken_in_for_a_study_in_quarantine_or_one_that_is_not_there(role, bleed):
    uid = receive(role, bleed)
    with role.store.write() as c:
        studies.advance(c, uid, StudyEvent.QUARANTINED, now(), "two patients under one Study Instance UID")
    with pytest.raises(StatementConflict, match="in quarantine"):
        state_facts(role, uid, ClinicalEntry(gcs=9))
    with pytest.raises(StatementConflict, match="no such study"):
        state_facts(role, "9.9.9", ClinicalEntry(gcs=9))


def test_the_age_follows_a_corrected_birth_date_and_not_the_header(role, bleed):
    uid = receive(role, bleed)
    role.work()
    who = studies.get(role.store, uid).identity
    identity.correct(role.store, role.received, uid, replace(who, patient_birth_date="20150101"), "HL7 ADT")
    close(role, uid)
    role.work()
    assert studies.get(role.store, uid).state is StudyState.DECLINED
    assert "under 18" in studies.get(role.store, uid).reason
    identity.correct(role.store, role.received, uid, replace(who, patient_birth_date="19500101"), "HL7 ADT")
    close(role, uid)
    role.work()
    assert studies.get(role.store, uid).state is not StudyState.DECLINED, "an adult after all"
    held = instances.of_study(role.store, uid)
    facts = clinical.known_facts(role.store, uid, held, ZoneInfo("UTC")).facts
    assert facts.age_years in (75, 76, 77)
    assert dict(facts.sources)["age_years"] == "corrected birth date"


def test_facts_for_a_flagged_study_whose_objects_failed_are_taken_in(role, bleed):
    uid = receive(role, bleed)
    role.work()
    with role.store.write() as c:
        c.execute(text("UPDATE study SET state = 'failed'"))
    state_facts(role, uid, ClinicalEntry(after_surgery=True))
    assert role.restate()
    assert {p.abstained for p in made_for(role, uid).predictions} == {AFTER_SURGERY}


def test_a_prognosis_of_somebody_else_is_not_shown(role, bleed):
    uid = receive(role, bleed)
    role.work()
    for image in instances.of_study(role.store, uid):
        role.received.remove(image.sha256)
    who = studies.get(role.store, uid).identity
    identity.correct(role.store, role.received, uid, replace(who, accession_number="A2"), "HL7 order")
    assert study_details(role.store, role.blobs.built, uid, True).predictions, "the same patient"
    identity.correct(role.store, role.received, uid, replace(who, patient_id="OTHER"), "HL7 ADT")
    assert study_details(role.store, role.blobs.built, uid, True).predictions == ()


@pytest.mark.parametrize(("agent", "told"), [("NONE", ""), ("no", ""), ("Ultravist 300", "Ultravist 300")])
def test_that_no_agent_was_given_is_no_contrast(bleed, agent, told):
    volume = head(9001, 1, slices=24, size=128).volume
    header = replace(read_header(bleed[0], "a").header, contrast_bolus_agent=agent)
    held = [ReceivedInstance("0" * 64, 1, "1.2", CT, "1.2.840.10008.1.2.1", now(), header)]
    assert image_facts(volume, held).contrast == told
