"""MPPS and IAN over sockets: what is answered, what is kept, and what no honest peer sends."""

from __future__ import annotations

import struct
import subprocess
import sys
from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.dimse_primitives import N_CREATE, N_SET
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import InstanceAvailabilityNotification as Ian
from pynetdicom.sop_class import ModalityPerformedProcedureStep as Mpps
from pynetdicom.sop_class import UnifiedProcedureStepPush

from tests.counterparts.ups_peer import dcmjs_modality
from tests.support.announcing import CT, Announcer, listening, notification, performed, step
from tests.support.deciding import Site
from tests.support.waiting import wait_until
from triage_node.domain.expected import CountSource
from triage_node.gateway import announcement_scp
from triage_node.store import expected
from triage_node.store.schema import announcement, expected_count

STUDY, SERIES, STEP = "1.2.3", "1.2.3.1", "9.1"
MR = "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("announced"))
    with listening(site) as port:
        yield site, port
    site.store.close()


@pytest.fixture
def site(served):
    with served[0].store.write() as c:
        c.execute(expected_count.delete())
        c.execute(announcement.delete())
    return served[0]


@pytest.fixture
def announcer(served, site):
    with Announcer(served[1]) as found:
        yield found


def counts(site, study=STUDY):
    return {uid: [(c.source, c.instances) for c in told] for uid, told in expected.of_study(site.store, study).items()}


def uids(count, first=1):
    return [f"{SERIES}.{k}" for k in range(first, first + count)]


def test_completed_step_tells_what_it_named_last(site, announcer):
    assert announcer.begin(STEP, STUDY) == 0x0000
    assert announcer.change(STEP, performed({SERIES: uids(3)})).Status == 0x0000
    assert counts(site) == {}
    images = {SERIES: uids(28), "1.2.3.2": uids(140)}
    assert announcer.complete(STEP, images).Status == 0x0000
    assert counts(site) == {SERIES: [(CountSource.MPPS, 28)], "1.2.3.2": [(CountSource.MPPS, 140)]}


def test_completed_without_series_counts_those_that_were_told_before(site, announcer):
    announcer.begin(STEP, STUDY, "1.2.4")
    announcer.change(STEP, performed({SERIES: uids(28)}))
    only_state = performed({}, "COMPLETED")
    del only_state.PerformedSeriesSequence
    assert announcer.change(STEP, only_state).Status == 0x0000
    assert counts(site) == counts(site, "1.2.4") == {SERIES: [(CountSource.MPPS, 28)]}


@pytest.mark.parametrize("state", ["COMPLETED", "DISCONTINUED"])
def test_step_in_a_final_state_is_not_changed_any_more(site, announcer, state):
    announcer.begin(STEP, STUDY)
    announcer.complete(STEP, {SERIES: uids(28)}, state)
    for later in ("COMPLETED", "DISCONTINUED", "IN PROGRESS"):
        answer = announcer.complete(STEP, {SERIES: uids(3)}, later)
        assert (answer.Status, answer.ErrorID) == (0x0110, 0xA710)
    assert counts(site) == ({SERIES: [(CountSource.MPPS, 28)]} if state == "COMPLETED" else {})


def test_step_is_created_once_and_an_unknown_one_not_changed(site, announcer):
    assert announcer.begin(STEP, STUDY) == 0x0000
    assert announcer.begin(STEP, "1.2.4") == 0x0111
    assert announcer.complete("9.2", {SERIES: uids(2)}).Status == 0x0112
    assert announcer.complete(STEP, {SERIES: uids(2)}).Status == 0x0000
    assert (set(counts(site)), counts(site, "1.2.4")) == ({SERIES}, {})


def test_notifications_are_taken_once_and_add_to_one_another(site, announcer):
    assert announcer.notify("8.1", STUDY, {SERIES: uids(20)}) == 0x0000
    assert announcer.notify("8.1", STUDY, {SERIES: uids(40)}) == 0x0111
    assert announcer.notify("8.2", STUDY, {SERIES: uids(20, first=9)}) == 0x0000
    assert counts(site) == {SERIES: [(CountSource.IAN, 28)]}


@pytest.mark.parametrize("availability", ["NEARLINE", "OFFLINE", "UNAVAILABLE", "", "online"])
def test_series_that_is_not_online_as_a_whole_is_not_counted(site, announcer, availability):
    told = notification(STUDY, {SERIES: uids(28), "1.2.3.2": uids(5)})
    told.ReferencedSeriesSequence[0].ReferencedSOPSequence[7].InstanceAvailability = availability
    assert announcer.create(Ian, "8.1", told) == 0x0000
    assert counts(site) == {"1.2.3.2": [(CountSource.IAN, 5)]}


def test_images_of_other_modalities_are_not_counted(site, announcer):
    announcer.begin(STEP, STUDY)
    mixed = performed({SERIES: uids(28)}, "COMPLETED")
    mixed.PerformedSeriesSequence += performed({"1.2.3.9": uids(60)}, sop_class=MR).PerformedSeriesSequence
    mixed.PerformedSeriesSequence[0].ReferencedImageSequence += (
        performed({"": ["7.7"]}, sop_class=MR).PerformedSeriesSequence[0].ReferencedImageSequence
    )
    assert announcer.change(STEP, mixed).Status == 0x0000
    assert counts(site) == {SERIES: [(CountSource.MPPS, 28)]}


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"PerformedProcedureStepStatus": "COMPLETED"}, 0x0106),
        ({"PerformedProcedureStepStatus": "PAUSED"}, 0x0106),
        ({"PerformedProcedureStepStatus": None}, 0x0120),
        ({"PerformedProcedureStepStatus": ""}, 0x0121),
        ({"ScheduledStepAttributesSequence": None}, 0x0120),
        ({"ScheduledStepAttributesSequence": []}, 0x0121),
        ({"ScheduledStepAttributesSequence": [{"AccessionNumber": "A1"}]}, 0x0106),
        ({"ScheduledStepAttributesSequence": [{"StudyInstanceUID": f"1.{k}"} for k in range(30)]}, 0x0213),
        ({"PerformedSeriesSequence": [{"ProtocolName": "Head"}]}, 0x0106),
        ({"PerformedSeriesSequence": [{"SeriesInstanceUID": f"1.{k}"} for k in range(600)]}, 0x0213),
        ({"PerformedSeriesSequence": [{"SeriesInstanceUID": SERIES, "ReferencedImageSequence": [{"ReferencedSOPClassUID": CT}]}]}, 0x0106),
    ],
)  # fmt: skip
def test_step_that_lacks_what_is_counted_is_refused(site, announcer, more, status):
    assert announcer.begin(STEP, STUDY, **more) == status
    assert announcer.complete(STEP, {SERIES: uids(2)}).Status == 0x0112


def test_notification_without_study_or_series_is_refused(announcer):
    for keyword in ("StudyInstanceUID", "ReferencedSeriesSequence"):
        told = notification(STUDY, {SERIES: uids(2)})
        del told[keyword]
        assert announcer.create(Ian, "8.1", told) == 0x0120
    assert announcer.notify("8.1", "1.2.3", {SERIES: uids(2)}) == 0x0000


def answer_to(announcer, request, sop_class):
    """What a request is answered whose data set pynetdicom would not encode; None where the association ended."""
    association = announcer.association
    association._reactor_checkpoint.clear()
    wait_until(lambda: association._is_paused, 30, "the client's own thread to pause")
    association.dimse.send_msg(request, association._get_valid_context(sop_class, "", "scu").context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return answer


def references(uid: str, count: int) -> bytes:
    """The modification list of an N-SET that completes a step with so many times one reference."""

    def sequence(tag: bytes, item: bytes, times: int = 1) -> bytes:
        items = (b"\xfe\xff\x00\xe0" + struct.pack("<L", len(item)) + item) * times
        return tag + b"SQ\0\0" + struct.pack("<L", len(items)) + items

    parts = (Dataset(), Dataset(), Dataset())
    parts[0].ReferencedSOPClassUID = parts[0].ReferencedSOPInstanceUID = uid
    parts[1].SeriesInstanceUID = SERIES
    parts[2].PerformedProcedureStepStatus = "COMPLETED"
    image, series, state = (encode(part, is_implicit_vr=False, is_little_endian=True) for part in parts)
    images = sequence(b"\x08\x00\x40\x11", image, count)
    return state + sequence(b"\x40\x00\x40\x03", images + series)


@pytest.mark.parametrize(
    ("uid", "status"), [("1", 0x0213), ("1." + "2" * 62, None)], ids=["in 4 MiB", "in a longer message"]
)
def test_hundred_thousand_references_are_refused(site, announcer, served, uid, status):
    """Too long a message ends its association; nobody else's."""
    announcer.begin(STEP, STUDY)
    body = references(uid, 100_000)
    assert (len(body) <= announcement_scp.MESSAGE_BYTES) == (status is not None)
    request = N_SET()
    request.MessageID, request.RequestedSOPClassUID, request.RequestedSOPInstanceUID = 1, Mpps, STEP
    request.ModificationList = BytesIO(body)
    answer = answer_to(announcer, request, Mpps)
    assert (answer and answer.Status) == status
    with Announcer(served[1]) as other:
        assert other.complete(STEP, {SERIES: uids(28)}).Status == 0x0000
    assert counts(site) == {SERIES: [(CountSource.MPPS, 28)]}


GARBAGE = {
    "noise": b"\xff" * 300,
    "deep": b"\x40\x00\x40\x03SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff\x40\x00\x40\x03SQ\0\0\xff\xff\xff\xff" * 2000,
    "text for a sequence": b"\x40\x00\x52\x02CS\x0b\x00IN PROGRESS \x40\x00\x70\x02LO\x02\x00AB",
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("sop_class", [Mpps, Ian])
def test_garbage_gets_a_failure_and_keeps_nothing(site, announcer, served, sop_class, body):
    request = N_CREATE()
    request.MessageID, request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = 1, sop_class, STEP
    request.AttributeList = BytesIO(body) if body else None
    assert answer_to(announcer, request, sop_class).Status not in (0x0000, None)
    with Announcer(served[1]) as other:
        assert other.begin(STEP, STUDY) == 0x0000


def test_request_for_another_class_than_its_contexts_changes_nothing(site, announcer, served):
    for sop_class, data in ((UnifiedProcedureStepPush, step(STUDY)), (Ian, notification(STUDY, {SERIES: uids(2)}))):
        answer, _ = announcer.association.send_n_create(data, sop_class, STEP, meta_uid=Mpps)
        assert answer.get("Status") not in (0x0000,)
        assert counts(site) == {}
    with Announcer(served[1]) as other:
        assert other.create(Mpps, None, step(STUDY)) == 0x0117
        assert other.begin(STEP, STUDY) == 0x0000
        answer, _ = other.association.send_n_set(performed({}, "COMPLETED"), Ian, STEP)
        assert answer.get("Status") is None  # a notification has no N-SET: the association ends
    assert counts(site) == {}


def test_reader_of_the_list_is_not_served_here_and_a_stranger_not_admitted(served):
    ae = AE("READ1")
    ae.add_requested_context(UnifiedProcedureStepPush)
    association = ae.associate("127.0.0.1", served[1])
    assert not association.accepted_contexts
    association.abort()


def test_port_that_is_taken_is_said_and_ends_the_role(site, served):
    config = site.folder / "taken.toml"
    config.write_text(site.config.read_text() + f"\n[announcements]\nport = {served[1]}\n")
    command = [sys.executable, "-m", "triage_node.processes.gateway", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert f"announcements: 127.0.0.1:{served[1]} cannot be listened on" in done.stderr


def test_modality_on_another_library_performs_a_step_and_an_archive_notifies(site, served):
    with dcmjs_modality(served[1], STUDY, SERIES) as modality:
        told = modality.tell(do="perform")
        assert told == {"create": 0, "again": 0x0111, "complete": 0, "after": 0x0110, "unknown": 0x0112, "notify": 0}
    assert counts(site) == {SERIES: [(CountSource.MPPS, 28), (CountSource.IAN, 28)]}
