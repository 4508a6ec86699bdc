"""What peers may send that no honest one does."""

import json
import socket
import threading
from io import BytesIO

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_FIND, N_ACTION, N_SET
from pynetdicom.sop_class import UnifiedProcedureStepPull, UnifiedProcedureStepPush, Verification

from tests.gateway.site import DimseClient, RsClient, keys, of_study, running
from tests.support.waiting import wait_until
from triage_node.domain.priority import ReadingState
from triage_node.workitems.follow import workitem_uid
from triage_node.workitems.status import Status

STUDY = "1.2.3"
ITEM = workitem_uid(STUDY, 1)
MINE = "2.25.111"
JSON = {"content-type": "application/dicom+json"}
GARBAGE = [
    b"\xff" * 300,
    b"\x40\x00\x70\xa3SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff\x40\x00\x70\xa3SQ\0\0\xff\xff\xff\xff" * 2000,
    b"\x08\x00\x18\x00UI\x08\x00../../..",
]  # fmt: skip


def still_serves(site):
    client = DimseClient(site)
    assert client.association.send_c_echo().Status == 0
    client.close()
    assert httpx.get(f"{site.rs}/workitems", timeout=30).status_code in (200, 204)


@pytest.mark.parametrize("body", GARBAGE, ids=["noise", "deep", "no UID"])
def test_garbage_data_set_gets_a_failure_and_harms_nobody(site, body):
    site.arrive(STUDY)
    client = DimseClient(site)
    association = client.association
    context = association._get_valid_context(UnifiedProcedureStepPull, "", "scu")

    find = C_FIND()
    find.MessageID, find.AffectedSOPClassUID, find.Priority = 1, UnifiedProcedureStepPull, 2
    find.Identifier = BytesIO(body)
    action = N_ACTION()
    action.MessageID, action.RequestedSOPClassUID = 2, UnifiedProcedureStepPush
    action.RequestedSOPInstanceUID, action.ActionTypeID, action.ActionInformation = ITEM, 1, BytesIO(body)
    change = N_SET()
    change.MessageID, change.RequestedSOPClassUID = 3, UnifiedProcedureStepPush
    change.RequestedSOPInstanceUID, change.ModificationList = ITEM, BytesIO(body)
    association._reactor_checkpoint.clear()
    wait_until(lambda: association._is_paused, 30, "the client's own thread to pause")
    for request in (find, action, change):
        association.dimse.send_msg(request, context.context_id)
        _, answer = association.dimse.get_msg(block=True)
        assert answer is not None
        assert answer.Status not in (0x0000, 0xFF00)
    association._reactor_checkpoint.set()
    client.close()
    assert site.row(STUDY).reading_state is ReadingState.WAITING
    still_serves(site)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[" * 200_000, 400),
        (b'{"00741200":' * 5000 + b"1" + b"}" * 5000, 400),
        (b"[1, 2]", 400),
        (b'{"00741200": "HIGH"}', 400),
        (b'{"00741200": {"vr": "SQ", "Value": ["HIGH"]}}', 400),
        (b'{"00741200": {"vr": "CS", "Value": {"a": 1}}}', 400),
        (b'{"00741200": {"vr": "CS", "Value": [["HIGH"]]}}', 400),
        (b'{"00741200": {"vr": "CS", "Value": ["\\ud800"]}}', 400),
        (b'{"00081195": {"vr": "UI", "Value": ["1.2/../3"]}, "00741200": {"vr": "CS", "Value": ["HIGH"]}}', 400),
        (json.dumps({f"{0x00100000 + k:08X}": {"vr": "LO", "Value": ["x"]} for k in range(9000)}).encode(), 400),
        (b'{"00741200": {"vr": "CS", "Value": ["' + b"A" * 2_000_000 + b'"]}}', 413),
        (b"\xff\xfe\x00", 400),
    ],
    ids=lambda v: f"{v[:24]!r}" if isinstance(v, bytes) else str(v),
)
def test_json_that_is_no_data_set_is_refused(site, body, code):
    site.arrive(STUDY)
    answer = httpx.post(f"{site.rs}/workitems/{ITEM}", content=body, headers=JSON, timeout=30)
    assert answer.status_code == code
    client = RsClient(site)
    assert client.find(of_study(STUDY))[0].ScheduledProcedureStepPriority == "LOW"
    client.close()


def test_deep_data_set_is_refused(site):
    site.arrive(STUDY)
    deep = {"00741200": {"vr": "CS", "Value": ["HIGH"]}}
    for _ in range(12):
        deep = {"0040A370": {"vr": "SQ", "Value": [deep]}}
    assert (
        httpx.post(f"{site.rs}/workitems/{ITEM}", content=json.dumps(deep), headers=JSON, timeout=30).status_code == 400
    )


@pytest.mark.parametrize(
    "uid", ["..%2f..%2fetc", "1.2.3'; DROP TABLE workitem;--", "a", "1" * 70, "1.2.3%00", "%F0%9F%92%80"]
)
def test_uid_with_other_characters_is_unknown(site, uid):
    for method, path in (("GET", ""), ("PUT", "/state"), ("POST", "/cancelrequest")):
        body = None if method == "GET" else json.dumps({"00741000": {"vr": "CS", "Value": ["CANCELED"]}})
        answer = httpx.request(method, f"{site.rs}/workitems/{uid}{path}", content=body, headers=JSON, timeout=30)
        assert answer.status_code in (404, 405)
    still_serves(site)


@pytest.mark.parametrize(
    "query",
    ["limit=x", "offset=-1", "limit=99999999999999", "NoSuchKeyword=1", "PatientID.PatientID=1", "StudyInstanceUID=a/b",
     "A.B.C.D.E=1", "PatientID=" + "x" * 2000, "includefield=Nothing"],
)  # fmt: skip
def test_query_that_cannot_be_read_is_refused(site, query):
    answer = httpx.get(f"{site.rs}/workitems?{query}", timeout=30)
    assert (answer.status_code, "warning" in answer.headers) == (400, True)


def test_pattern_of_many_stars_takes_no_time(site):
    site.arrive(STUDY, patient_name="A" * 64)
    client = RsClient(site)
    assert client.find(keys(PatientName="*A" * 60 + "B")) == []
    client.close()


def test_other_media_other_hosts_and_other_sites_are_refused(site):
    url = f"{site.rs}/workitems/{ITEM}"
    assert httpx.post(url, content=b"{}", headers={"content-type": "text/plain"}, timeout=30).status_code == 415
    for header in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
        assert httpx.get(f"{site.rs}/workitems", headers=header, timeout=30).status_code == 403
    own = {"origin": site.rs}
    assert httpx.get(f"{site.rs}/workitems", headers=own, timeout=30).status_code == 204


def test_transaction_uid_of_somebody_else_is_told_to_nobody(site):
    site.arrive(STUDY)
    owner, thief = DimseClient(site), RsClient(site)
    assert owner.change_state(ITEM, "IN PROGRESS", MINE) is Status.SUCCESS
    assert MINE not in httpx.get(f"{site.rs}/workitems/{ITEM}", timeout=30).text
    assert MINE not in httpx.get(f"{site.rs}/workitems?TransactionUID={MINE}", timeout=30).text
    assert MINE not in str(owner.find(keys(TransactionUID="", ProcedureStepState="")))
    assert MINE not in str(owner.get(ITEM)[1])
    for guess in ("2.25.112", f"{MINE}.1", "1"):
        assert thief.change_state(ITEM, "CANCELED", guess) is Status.WRONG_TRANSACTION_UID
    owner.close()
    thief.close()


def test_of_many_claims_at_once_one_wins(site):
    site.arrive(STUDY)
    clients = [DimseClient(site, "READ1"), DimseClient(site, "READ2"), RsClient(site), RsClient(site)]
    answers: list[Status] = []
    threads = [
        threading.Thread(target=lambda c=c, k=k: answers.append(c.change_state(ITEM, "IN PROGRESS", f"2.25.{k}")))
        for k, c in enumerate(clients, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for client in clients:
        client.close()
    assert sorted(answers) == [Status.SUCCESS, *[Status.ALREADY_IN_PROGRESS] * 3]


def test_unknown_action_is_no_action(site):
    site.arrive(STUDY)
    client = DimseClient(site)
    assert client._act(9, ITEM, keys(ReceivingAE="WATCH1")) is Status.NO_SUCH_ACTION
    assert client.change_state(ITEM, "READING", MINE) is Status.NO_SUCH_ARGUMENT
    client.close()


def test_stranger_is_not_admitted(site):
    ae = AE("STRANGER")
    ae.add_requested_context(Verification)

    def rejected():
        # where the answer closes the connection before the asking thread looks, the library says that there was none
        association = ae.associate("127.0.0.1", site.ups_port)
        assert not association.is_established
        return association.is_rejected and association.acceptor.primitive

    assert wait_until(rejected, 10, "the rejection is heard").result_source == 1


def test_message_longer_than_any_real_one_ends_its_association_only(site):
    client = DimseClient(site)
    query = keys(PatientID="")
    query.CommentsOnTheScheduledProcedureStep = "x" * (3 << 20)
    answers = list(client.association.send_c_find(query, UnifiedProcedureStepPull))
    assert not any(found for _, found in answers)
    wait_until(lambda: not client.association.is_established, 30, "the association to end")
    still_serves(site)


def test_connections_that_say_nothing_hold_nobody_up(site):
    silent = [socket.create_connection(("127.0.0.1", site.ups_port)) for _ in range(20)]
    still_serves(site)
    for connection in silent:
        connection.close()


def test_odd_identity_of_a_scanner_is_shown_and_breaks_nothing(site):
    odd = {"patient_name": "^" * 5 + "Ü" * 200, "patient_birth_date": "around 1950", "patient_sex": "?"}
    site.arrive(STUDY, accession_number="A" * 40 + "\\B\n", patient_id="日本" * 40, **odd)
    for client in (DimseClient(site), RsClient(site)):
        status, item = client.get(ITEM)
        assert status is Status.SUCCESS
        assert item.PatientID == ("日本" * 40)[:64]
        assert item.PatientSex in ("", None)
        client.close()


def test_observe_mode_tells_watchers_nothing_of_a_flag(tmp_path):
    with running(tmp_path / "site", mode="observe") as site:
        site.arrive(STUDY)
        site.flag(STUDY)
        site.set_reading(STUDY, ReadingState.NOT_CONFIRMED)
        for client in (DimseClient(site), RsClient(site)):
            assert [i.ScheduledProcedureStepPriority for i in client.find(of_study(STUDY))] in ([], ["LOW"])
            assert "IPH" not in str(client.get(ITEM)[1])
            client.close()


def test_sequence_where_text_belongs_is_refused_over_dimse(site):
    site.arrive(STUDY)
    client = DimseClient(site)
    odd = Dataset()
    odd.add_new(0x00741200, "SQ", Sequence([keys(PatientID="1")]))
    assert client.update(ITEM, odd) is Status.INVALID_VALUE
    client.close()
