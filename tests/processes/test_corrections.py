"""An identity that somebody corrects after the result: issued again, nothing leaves under the old one, what left is listed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from tests.journeys import modality
from tests.support.analysed import Painted, analysis, close, receive, settings_in, take_in
from triage_node.config.hl7_inbound import Hl7InboundSettings
from triage_node.domain.delivery import ObjectKind, OutboxRow, OutboxState
from triage_node.domain.finding import Detection
from triage_node.domain.orders import OrderEvent, OrderFacts, PatientKey
from triage_node.domain.study import StudyState
from triage_node.domain.volume import Volume
from triage_node.processes.analysis import Analysis
from triage_node.processes.orders import Orders
from triage_node.processes.running import now
from triage_node.processes.study_details import study_details
from triage_node.store import audit, instances, orders, outbox, results, studies, worklist

TEXT = """
[worklist]
mode = "active"
[prognosis]
bundles = []
[[archives]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 9
kinds = ["findings_sr", "summary_sc"]
"""
OLD, OLD_ACCESSION = "MARKEDNAME-9081", "SIM-first"
SENT = frozenset({OutboxState.DELIVERED, OutboxState.SENT, OutboxState.COMMITTED})


@pytest.fixture(scope="module")
def bleed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    folder = tmp_path_factory.mktemp("corrected")
    return modality.phantom(folder, "first", modality.now(), seed=9081, slices=24, thickness_mm=6.0, size=128).files


@pytest.fixture
def role(tmp_path: Path) -> Iterator[Analysis]:
    with analysis(settings_in(tmp_path / "site", text=TEXT)) as made:
        yield made


def hears(role: Analysis, facts: OrderFacts) -> None:
    """A message of the HIS arrives, and the scheduler ticks."""
    number = orders.newest(role.store)
    orders.take(role.store, "HIS|WARD", f"C{number}", [facts], now())
    inbound = role.settings.model_copy(update={"hl7_inbound": Hl7InboundSettings()})
    Orders(role.store, inbound).tick()


def merged(new: str, old: str = OLD) -> OrderFacts:
    return OrderFacts(OrderEvent.PATIENT_MERGED, patients=(PatientKey(new),), merged_from=PatientKey(old))


def renamed(name: str) -> OrderFacts:
    return OrderFacts(OrderEvent.PATIENT_UPDATED, patients=(PatientKey(OLD),), patient_name=name)


def order_for(uid: str, accession: str) -> OrderFacts:
    return OrderFacts(OrderEvent.ORDER, uid, accession, patients=(PatientKey(OLD),), assigned_accession=accession)


def delivered(role: Analysis, uid: str) -> list[OutboxRow]:
    """The archive takes what waits for it. Returns that."""
    waiting = outbox.claim_batch(role.store, "pacs", "test", now(), timedelta(minutes=1), 100)
    for row in waiting:
        outbox.record_outcome(role.store, row.id, OutboxState.DELIVERED, now())
    return waiting


def analysed_again(role: Analysis, uid: str) -> None:
    assert studies.get(role.store, uid).state is StudyState.RECEIVING
    close(role, uid)
    assert role.work()


def read(role: Analysis, row: OutboxRow) -> pydicom.Dataset:
    built = results.object_by_uid(role.store, row.sop_instance_uid)
    return pydicom.dcmread(BytesIO(role.reporter.path(built).read_bytes()))


@pytest.mark.parametrize(
    ("message", "keyword", "new", "shown"),
    [
        (lambda uid: merged("RIGHT-ID"), "PatientID", "RIGHT-ID", f"patient id {OLD}"),
        (lambda uid: renamed("Đặng^Müller=山田^太郎"), "PatientName", "Đặng^Müller=山田^太郎", "another patient name"),
        (lambda uid: order_for(uid, "A-NEW"), "AccessionNumber", "A-NEW", f"accession number {OLD_ACCESSION}"),
    ],
    ids=["A40", "A08", "order"],
)
def test_a_reported_study_is_issued_again_under_the_new_identity(role, bleed, message, keyword, new, shown):
    uid = receive(role, bleed)
    role.work()
    first = results.latest(role.store, uid)
    before = delivered(role, uid)
    hears(role, message(uid))
    analysed_again(role, uid)

    again = results.latest(role.store, uid)
    assert (again.revision, again.probability, again.input_digest) == (2, first.probability, first.input_digest)
    row = worklist.row_of(role.store, uid).row
    assert row.flag is not None
    assert "identity corrected" in row.status_words
    after = {r.kind: read(role, r) for r in delivered(role, uid)}
    note = after.pop(ObjectKind.REJECTION_NOTE)
    assert str(note[keyword].value) != new, "it stands where the old objects are filed"
    assert set(after) == {r.kind for r in before}
    assert {str(d[keyword].value) for d in after.values()} == {new}
    [named] = after[ObjectKind.FINDINGS_SR].PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    old = {r.kind: r.sop_instance_uid for r in before}
    assert named.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == old[ObjectKind.FINDINGS_SR]

    listed = study_details(role.store, role.blobs.built, uid, shows_names=False).to_correct
    assert {t.uid for t in listed} == set(old.values())
    assert {(t.peer, t.carries, t.done) for t in listed} == {("pacs", shown, "Withdrawn there by a rejection note.")}
    assert audit.first_broken(role.store) is None


def test_what_waits_for_an_archive_never_goes_out_under_the_old_identity(role, bleed):
    uid = receive(role, bleed)
    role.work()
    [on_its_way] = outbox.claim_batch(role.store, "pacs", "test", now(), timedelta(minutes=1), 1)
    hears(role, merged("RIGHT-ID"))
    assert outbox.claim_batch(role.store, "pacs", "test", now(), timedelta(minutes=1), 100) == []
    # what was on its way fails and is not tried again, or arrives and is known to lie there
    outbox.record_outcome(role.store, on_its_way.id, OutboxState.DELIVERED, now())
    analysed_again(role, uid)
    sent = delivered(role, uid)
    assert {str(read(role, r).PatientID) for r in sent if r.kind is not ObjectKind.REJECTION_NOTE} == {"RIGHT-ID"}
    states = {r.sop_instance_uid: r.state for r in outbox.of_study(role.store, uid)}
    listed = study_details(role.store, role.blobs.built, uid, shows_names=True).to_correct
    assert [t.uid for t in listed] == [on_its_way.sop_instance_uid]
    assert sorted(s.value for s in states.values()).count("parked") == 1


def test_a_try_that_fails_after_the_correction_is_the_last_one(role, bleed):
    uid = receive(role, bleed)
    role.work()
    [row] = outbox.claim_batch(role.store, "pacs", "test", now(), timedelta(minutes=1), 1)
    hears(role, merged("RIGHT-ID"))
    outbox.record_outcome(role.store, row.id, OutboxState.PENDING, now(), now(), "connection lost")
    [held] = [r for r in outbox.of_study(role.store, uid) if r.id == row.id]
    assert (held.state, held.reason) == (
        OutboxState.PARKED,
        "the identity was corrected; what is made anew goes instead",
    )


def test_what_no_answer_told_of_is_listed_as_perhaps_there(role, bleed):
    """Found by a seed of tests/simulated_faults: the archive had it, the line broke before it said so."""
    uid = receive(role, bleed)
    role.work()
    [row] = outbox.claim_batch(role.store, "pacs", "test", now(), timedelta(minutes=1), 1)
    outbox.record_outcome(role.store, row.id, OutboxState.PENDING, now(), now(), "no answer", perhaps_there=True)
    hears(role, merged("RIGHT-ID"))
    [listed] = study_details(role.store, role.blobs.built, uid, shows_names=True).to_correct
    assert (listed.uid, listed.done) == (row.sop_instance_uid, "Whether it lies there is not known.")


class _Interrupted(Painted):
    """A detector during whose work a message corrects the identity."""

    def __init__(self, role: Analysis) -> None:
        super().__init__(role.bundle)
        self._role = role

    def detect(self, volume: Volume) -> Detection:
        hears(self._role, merged("RIGHT-ID"))
        return super().detect(volume)


def test_a_correction_in_the_middle_of_the_analysis_lets_nothing_out_under_the_old_identity(role, bleed):
    uid = receive(role, bleed)
    role.detector = _Interrupted(role)
    role.work()
    assert studies.get(role.store, uid).state is StudyState.COMPLETE
    assert outbox.of_study(role.store, uid) == []
    assert worklist.row_of(role.store, uid).row.flag is not None
    role.detector = Painted(role.bundle)
    role.work()
    sent = delivered(role, uid)
    assert sent
    assert {str(read(role, r).PatientID) for r in sent} == {"RIGHT-ID"}


def test_a_merge_and_its_way_back_leave_no_object_behind(role, bleed):
    uid = receive(role, bleed)
    role.work()
    hears(role, merged("RIGHT-ID"))
    hears(role, merged(OLD, old="RIGHT-ID"))
    analysed_again(role, uid)
    sent = delivered(role, uid)
    assert {r.kind for r in sent} == {ObjectKind.FINDINGS_SR, ObjectKind.SUMMARY_SC}
    assert {str(read(role, r).PatientID) for r in sent} == {OLD}
    assert study_details(role.store, role.blobs.built, uid, shows_names=True).to_correct == ()


def test_a_clock_that_is_set_back_hides_no_old_identity_and_blames_no_new_object(role, bleed, monkeypatch):
    uid = receive(role, bleed)
    role.work()
    before = delivered(role, uid)

    def set_back():
        return now() - timedelta(minutes=5)

    for module in ("identity", "analysis", "reporting", "orders"):
        monkeypatch.setattr(f"triage_node.processes.{module}.now", set_back)
    hears(role, merged("RIGHT-ID"))
    monkeypatch.undo()
    monkeypatch.setattr("triage_node.processes.reporting.now", set_back)
    analysed_again(role, uid)
    after = delivered(role, uid)
    assert {str(read(role, r).PatientID) for r in after if r.kind is not ObjectKind.REJECTION_NOTE} == {"RIGHT-ID"}
    listed = study_details(role.store, role.blobs.built, uid, shows_names=True).to_correct
    assert {t.uid for t in listed} == {r.sop_instance_uid for r in before}


def test_images_that_come_under_either_identity_after_a_merge_are_one_patients(role, bleed, tmp_path):
    uid = receive(role, bleed[:-2])
    role.work()
    hears(role, merged("RIGHT-ID"))
    late = pydicom.dcmread(bleed[-1])
    late.PatientID = "RIGHT-ID"
    late.save_as(tmp_path / "late.dcm")
    take_in(role, [bleed[-2], tmp_path / "late.dcm"])
    analysed_again(role, uid)
    assert studies.get(role.store, uid).state is StudyState.REPORTED
    assert {str(read(role, r).PatientID) for r in delivered(role, uid)} == {"RIGHT-ID"}


def test_without_its_images_a_study_is_listed_and_not_opened_again(role, bleed):
    uid = receive(role, bleed)
    role.work()
    delivered(role, uid)
    for image in instances.of_study(role.store, uid):
        role.received.remove(image.sha256)
    hears(role, merged("RIGHT-ID"))
    assert studies.get(role.store, uid).state is StudyState.DELIVERED
    assert "nothing can be issued again" in worklist.row_of(role.store, uid).row.status_words
    listed = study_details(role.store, role.blobs.built, uid, shows_names=True).to_correct
    assert {t.done for t in listed} == {"No rejection note withdraws it."}
