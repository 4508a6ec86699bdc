"""Clinical facts and prognoses are appended in revisions, and the audit trail tells who said what."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.store.conftest import NOW
from tests.store.test_studies import received
from triage_node.domain.clinical import ClinicalEntry, ClinicalRevision
from triage_node.domain.finding import BundleIdentity, EvidenceLevel, FindingDecision, OperatingPoint
from triage_node.domain.prognosis import Estimate, Prediction, ScoreItem
from triage_node.domain.study import StudyEvent
from triage_node.store import audit, clinical, instances, policy, prognosis, results, studies
from triage_node.store.prognosis import PrognosisRecord
from triage_node.store.schema import audit as audit_table

UID = "1.2.3"
FIRST = ClinicalRevision(UID, 1, NOW, "Dr. Lee", "form", "p", ClinicalEntry(gcs=9, onset_at=NOW - timedelta(hours=2)))
SECOND = replace(FIRST, revision=2, by="ward system", via="REST", entry=ClinicalEntry(gcs=8, trauma=False))
PREDICTION = Prediction(
    "expansion",
    "Expansion",
    items=(ScoreItem("GCS", False, "not computable", None, (0, 2)),),
    missing=("GCS",),
    score_range=(1, 3),
    columns=(("30-day mortality", 13.0, 72.0, "%"),),
    estimates=(Estimate("growth", 0.3, 0.1, 0.6, ""),),
    used=(("age", "71 (DICOM header)"),),
    warnings=("mask and regression disagree",),
)
MADE = PrognosisRecord(UID, 1, 1, NOW, 0, "c" * 64, {"image": {"slices": 32}}, (PREDICTION,))


@pytest.fixture
def study(store):
    instances.record_batch(store, [received(k) for k in range(3)])
    return store


def add(store, statement):
    with store.write() as c:
        return clinical.add(c, statement)


def test_statements_are_kept_as_they_were_made(study):
    assert add(study, FIRST)
    assert add(study, SECOND)
    assert clinical.history_of(study, UID) == [FIRST, SECOND]
    assert clinical.history_of(study, "9.9") == []


def test_who_states_on_top_of_an_older_state_is_not_heard(study):
    assert add(study, FIRST)
    assert not add(study, replace(SECOND, revision=1))
    assert not add(study, replace(SECOND, revision=3))
    assert clinical.history_of(study, UID) == [FIRST]


def test_each_statement_is_in_the_audit_chain_with_old_and_new(study):
    add(study, FIRST)
    add(study, SECOND)
    with study.read() as c:
        rows = c.execute(select(audit_table).where(audit_table.c.action == "clinical facts stated")).all()
    assert [r.actor for r in rows] == ["Dr. Lee by form", "ward system by REST"]
    assert (rows[0].old, rows[1].old) == ("", rows[0].new)
    assert '"gcs": 8' in rows[1].new
    assert audit.first_broken(study) is None
    assert [e.moment for e in studies.timeline_of(study, UID)][-2:] == ["clinical facts entered"] * 2


def analysed(store, flagged=True):
    """A study with a result, at rest."""
    with store.write() as c:
        assert studies.close(c, UID, "released", False, NOW, expected_instances=3)
    policy.add(store, [OperatingPoint("ich", 0.3, 0.6, 0)], "test", "first", NOW)
    studies.claim(store, "analysis@test", NOW, timedelta(minutes=1))
    point = policy.current(store)["ich"]
    bundle = BundleIdentity("bloodnet", "0.1", "b" * 64, "test")
    record = results.ResultRecord(UID, 1, NOW, "i", "bloodnet", "0.1", "b" * 64, "test", 1, "c", 0.9, 3.0, flagged)
    decision = FindingDecision(flagged, "ich", 0.9, point, 3.0, (), (), bundle, EvidenceLevel.E0)
    with store.write() as c:
        results.save(c, record, decision)
        assert prognosis.save(c, MADE) is True
        studies.advance(c, UID, StudyEvent.REPORTED, NOW)


def test_a_prognosis_is_behind_until_it_takes_in_the_last_statement(study):
    analysed(study)
    assert prognosis.behind(study) is None
    add(study, FIRST)
    assert prognosis.behind(study) == UID
    second = replace(MADE, revision=2, clinical_revision=1, clinical_inputs_digest="d" * 64)
    with study.write() as c:
        assert prognosis.save(c, second)
        assert not prognosis.save(c, second)
    assert prognosis.behind(study) is None
    assert prognosis.latest(study, UID, 1) == second
    assert prognosis.latest(study, UID, 2) is None
    add(study, SECOND)
    assert prognosis.behind(study) == UID


def test_what_was_not_flagged_has_no_prognosis_to_be_behind(study):
    analysed(study, flagged=False)
    add(study, FIRST)
    assert prognosis.behind(study) is None


def test_a_study_at_work_is_left_to_who_works_on_it(study):
    analysed(study)
    add(study, FIRST)
    with study.write() as c:
        studies.advance(c, UID, StudyEvent.REOPENED, NOW)
    assert prognosis.behind(study) is None
