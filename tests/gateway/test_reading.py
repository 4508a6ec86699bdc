"""One workitem a study, followed, found, claimed and completed: the same over DIMSE and UPS-RS."""

import pytest

from tests.gateway.site import RsClient, keys, of_study, performed
from tests.support.waiting import wait_until
from triage_node.domain.priority import OrderClass, ReadingState, Urgency
from triage_node.store import audit, worklist
from triage_node.workitems.follow import workitem_uid
from triage_node.workitems.status import Status

STUDY = "1.2.3"
ITEM = workitem_uid(STUDY, 1)
MINE, OTHERS = "2.25.111", "2.25.222"


def state_of(client, uid=ITEM):
    return str(client.get(uid)[1].ProcedureStepState)


def test_arrived_study_is_found_by_study_and_by_accession(site, client):
    site.arrive(STUDY, accession_number="A77")
    site.arrive("1.2.4", accession_number="A78")
    [found] = client.find(of_study(STUDY))
    assert (found.SOPInstanceUID, found.ProcedureStepState) == (ITEM, "SCHEDULED")
    assert found.ReferencedRequestSequence[0].StudyInstanceUID == STUDY
    by_accession = keys(ReferencedRequestSequence={"AccessionNumber": "A78"}, PatientName="")
    [found] = client.find(by_accession)
    assert found.SOPInstanceUID == workitem_uid("1.2.4", 1)
    assert str(found.PatientName) == "DOE^JANE"


def test_item_names_study_instances_request_and_what_is_to_be_done(site, client):
    site.arrive(STUDY, patient_name="Müller^Zoë=山田^太郎", patient_birth_date="19500102", patient_sex="F")
    status, item = client.get(ITEM)
    assert status is Status.SUCCESS
    assert str(item.PatientName) == "Müller^Zoë=山田^太郎"
    assert item.ScheduledWorkitemCodeSequence[0].CodeMeaning == "Interpretation"
    assert item.ProcedureStepLabel == "Interpretation"
    [source] = item.InputInformationSequence
    assert [r.ReferencedSOPInstanceUID for r in source.ReferencedSOPSequence] == ["1.2.3.1.1", "1.2.3.1.2"]
    assert source.DICOMRetrievalSequence[0].RetrieveAETitle == "CT1"
    assert "TransactionUID" not in item
    assert ("workitem viewed" in [action for _, _, action in audit.entries(site.store, STUDY)]) is True


@pytest.mark.parametrize(
    ("order_class", "urgency", "priority"),
    [
        (OrderClass.ROUTINE, None, "LOW"),
        (OrderClass.URGENT, None, "MEDIUM"),
        (OrderClass.STAT, None, "MEDIUM"),
        (OrderClass.ROUTINE, Urgency.MODERATE, "MEDIUM"),
        (OrderClass.ROUTINE, Urgency.HIGH, "HIGH"),
        (OrderClass.STAT, Urgency.CRITICAL, "HIGH"),
    ],
)
def test_flag_and_order_class_give_the_priority(site, client, order_class, urgency, priority):
    site.arrive(STUDY, order_class)
    if urgency:
        site.flag(STUDY, urgency)
    [found] = client.find(of_study(STUDY))
    assert found.ScheduledProcedureStepPriority == priority


def test_flag_says_finding_and_suggested_priority_on_the_item(site, client):
    site.arrive(STUDY)
    assert client.get(ITEM)[1].CommentsOnTheScheduledProcedureStep in (None, "")
    site.flag(STUDY)
    words = client.get(ITEM)[1].CommentsOnTheScheduledProcedureStep
    assert words == "Suspected IPH, 34 mL. Finding and suggested priority. Not for diagnostic use."


def test_claim_shows_being_read_in_the_list_and_completion_closes_the_row(site, client):
    site.arrive(STUDY)
    assert client.change_state(ITEM, "IN PROGRESS", MINE) is Status.SUCCESS
    row = site.row(STUDY)
    assert row.reading_state is ReadingState.BEING_READ
    assert row.claimed_by.endswith("127.0.0.1")
    assert client.update(ITEM, _with(performed(), MINE)) is Status.SUCCESS
    assert client.change_state(ITEM, "COMPLETED", MINE) is Status.SUCCESS
    assert site.row(STUDY).reading_state is ReadingState.READ
    assert worklist.rows(site.store) == []
    assert state_of(client) == "COMPLETED"


def test_every_answer_of_the_state_machine_is_the_one_of_the_standard(site, client):
    site.arrive(STUDY)
    assert client.change_state("2.25.9", "IN PROGRESS", MINE) is Status.NO_SUCH_WORKITEM
    assert client.change_state(ITEM, "COMPLETED", MINE) is Status.NOT_YET_IN_PROGRESS
    assert client.change_state(ITEM, "CANCELED", MINE) is Status.NOT_YET_IN_PROGRESS
    assert client.change_state(ITEM, "IN PROGRESS") is Status.WRONG_TRANSACTION_UID
    assert client.change_state(ITEM, "SCHEDULED", MINE) is Status.ONLY_CREATE_SCHEDULES
    assert client.update(ITEM, _with(performed(), MINE)) is Status.NOT_YET_IN_PROGRESS
    assert client.change_state(ITEM, "IN PROGRESS", MINE) is Status.SUCCESS
    assert client.change_state(ITEM, "IN PROGRESS", OTHERS) is Status.ALREADY_IN_PROGRESS
    assert client.change_state(ITEM, "COMPLETED", OTHERS) is Status.WRONG_TRANSACTION_UID
    assert client.change_state(ITEM, "COMPLETED") is Status.WRONG_TRANSACTION_UID
    assert client.update(ITEM, _with(performed(), OTHERS)) is Status.WRONG_TRANSACTION_UID
    assert client.change_state(ITEM, "COMPLETED", MINE) is Status.FINAL_REQUIREMENTS_NOT_MET
    assert client.update(ITEM, _with(performed(), MINE)) is Status.SUCCESS
    assert client.change_state(ITEM, "COMPLETED", MINE) is Status.SUCCESS
    assert client.change_state(ITEM, "COMPLETED", MINE) is Status.ALREADY_COMPLETED_WARNING
    assert client.change_state(ITEM, "CANCELED", MINE) is Status.MAY_NO_LONGER_BE_UPDATED
    assert client.change_state(ITEM, "IN PROGRESS", OTHERS) is Status.MAY_NO_LONGER_BE_UPDATED
    assert client.update(ITEM, _with(performed(), MINE)) is Status.MAY_NO_LONGER_BE_UPDATED
    assert client.cancel(ITEM) is Status.ALREADY_COMPLETED


def test_released_claim_lets_the_row_wait_again_under_a_new_item(site, client):
    site.arrive(STUDY)
    client.change_state(ITEM, "IN PROGRESS", MINE)
    assert client.change_state(ITEM, "CANCELED", MINE) is Status.SUCCESS
    assert site.row(STUDY).reading_state is ReadingState.WAITING
    assert client.change_state(ITEM, "CANCELED", MINE) is Status.ALREADY_CANCELED
    found = {f.SOPInstanceUID: f.ProcedureStepState for f in client.find(of_study(STUDY))}
    assert found == {ITEM: "CANCELED", workitem_uid(STUDY, 2): "SCHEDULED"}
    told = client.get(ITEM)[1].ProcedureStepProgressInformationSequence[0]
    assert told.ProcedureStepCancellationDateTime
    assert client.change_state(workitem_uid(STUDY, 2), "IN PROGRESS", OTHERS) is Status.SUCCESS


def test_claim_that_lapsed_on_the_page_is_lost_to_its_owner(site, client):
    site.arrive(STUDY)
    client.change_state(ITEM, "IN PROGRESS", MINE)
    site.set_reading(STUDY, ReadingState.WAITING, "node: claim lapsed")
    assert client.change_state(ITEM, "COMPLETED", MINE) is Status.MAY_NO_LONGER_BE_UPDATED
    assert site.row(STUDY).reading_state is ReadingState.WAITING
    [open_item] = client.find(keys(ProcedureStepState="SCHEDULED"))
    assert open_item.SOPInstanceUID == workitem_uid(STUDY, 2)


def test_progress_report_renews_the_claim(site, client):
    site.arrive(STUDY)
    client.change_state(ITEM, "IN PROGRESS", MINE)
    first = site.row(STUDY).claimed_at
    told = keys(ProcedureStepProgressInformationSequence={"ProcedureStepProgress": "50"})
    assert client.update(ITEM, _with(told, MINE)) is Status.SUCCESS
    assert site.row(STUDY).claimed_at > first
    assert client.get(ITEM)[1].ProcedureStepProgressInformationSequence[0].ProcedureStepProgress == 50


def test_study_that_is_read_on_the_page_cannot_be_claimed(site, client):
    site.arrive(STUDY)
    site.set_reading(STUDY, ReadingState.BEING_READ)
    assert client.change_state(ITEM, "IN PROGRESS", MINE) is Status.ALREADY_IN_PROGRESS
    site.set_reading(STUDY, ReadingState.READ)
    assert client.change_state(ITEM, "IN PROGRESS", MINE) is Status.MAY_NO_LONGER_BE_UPDATED
    assert state_of(client) == "COMPLETED"
    assert site.row(STUDY).reading_state is ReadingState.READ


def test_cancel_request_before_reading_cancels_the_item_and_a_flag_brings_a_new_one(site, client):
    site.arrive(STUDY)
    assert client.cancel(ITEM, "ordered twice") is Status.SUCCESS
    assert client.cancel(ITEM) is Status.ALREADY_CANCELED
    (progress,) = client.get(ITEM)[1].ProcedureStepProgressInformationSequence
    assert progress.ProcedureStepCancellationDateTime
    assert progress.ProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue == "110513"
    assert [f.ProcedureStepState for f in client.find(of_study(STUDY))] == ["CANCELED"]
    assert site.row(STUDY).reading_state is ReadingState.WAITING  # the node's own list still holds the study
    site.flag(STUDY)
    found = {f.SOPInstanceUID: f.ScheduledProcedureStepPriority for f in client.find(of_study(STUDY))}
    assert found == {ITEM: "LOW", workitem_uid(STUDY, 2): "HIGH"}


def test_cancel_request_for_a_reader_whom_nobody_can_tell_is_refused(site, client):
    site.arrive(STUDY)
    client.change_state(ITEM, "IN PROGRESS", MINE)
    assert client.cancel(ITEM) is Status.PERFORMER_NOT_REACHABLE
    assert state_of(client) == "IN PROGRESS"


def test_peer_may_raise_a_scheduled_item_and_never_lower_what_the_list_gives(site, client):
    site.arrive(STUDY)
    assert client.update(ITEM, keys(ScheduledProcedureStepPriority="HIGH")) is Status.SUCCESS
    assert client.find(of_study(STUDY))[0].ScheduledProcedureStepPriority == "HIGH"
    assert client.update(ITEM, keys(ScheduledProcedureStepPriority="MEDIUM")) is Status.SUCCESS
    assert client.find(of_study(STUDY))[0].ScheduledProcedureStepPriority == "MEDIUM"
    site.flag(STUDY)
    assert client.update(ITEM, keys(ScheduledProcedureStepPriority="LOW")) is Status.COERCED
    assert client.find(of_study(STUDY))[0].ScheduledProcedureStepPriority == "HIGH"
    assert client.update(ITEM, keys(ScheduledProcedureStepPriority="URGENT")) is Status.INVALID_VALUE
    assert client.update(ITEM, keys(ProcedureStepState="SCHEDULED")) is Status.ONLY_CREATE_SCHEDULES
    assert client.update(ITEM, keys(PatientID="OTHER")) is Status.OPTIONAL_NOT_SUPPORTED
    assert client.get(ITEM)[1].PatientID == "P77"


def test_flag_leaves_the_priority_of_an_item_that_is_being_read(site, client):
    site.arrive(STUDY)
    client.change_state(ITEM, "IN PROGRESS", MINE)
    site.flag(STUDY)
    [found] = client.find(of_study(STUDY))
    assert (found.ProcedureStepState, found.ScheduledProcedureStepPriority) == ("IN PROGRESS", "LOW")


def test_others_cannot_create_items(site, client):
    site.arrive(STUDY)
    assert client.create("2.25.5", keys(ProcedureStepState="IN PROGRESS")) is Status.NOT_SCHEDULED_AT_CREATE
    assert client.find(of_study(STUDY))
    assert client.create(ITEM, keys(ProcedureStepState="SCHEDULED")) is Status.DUPLICATE
    assert client.create("2.25.5", keys(ProcedureStepState="SCHEDULED")) is Status.NOT_AUTHORIZED
    assert client.get("2.25.5")[0] is Status.NO_SUCH_WORKITEM


def test_restart_keeps_claims(site, client):
    site.arrive(STUDY)
    client.change_state(ITEM, "IN PROGRESS", MINE)
    site.stop()
    site.start()
    again = type(client)(site)
    try:
        assert again.change_state(ITEM, "IN PROGRESS", OTHERS) is Status.ALREADY_IN_PROGRESS
        assert again.update(ITEM, _with(performed(), MINE)) is Status.SUCCESS
        assert again.change_state(ITEM, "COMPLETED", MINE) is Status.SUCCESS
    finally:
        again.close()


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"ScheduledProcedureStepPriority": "HIGH"}, 1),
        ({"ProcedureStepState": "SCHEDULED"}, 2),
        ({"PatientName": "doe*"}, 1),
        ({"PatientName": "M?ller*"}, 1),
        ({"PatientID": "P7?"}, 1),
        ({"ScheduledProcedureStepStartDateTime": "20200101-"}, 2),
        ({"ScheduledProcedureStepStartDateTime": "-20200101"}, 0),
        ({"SOPInstanceUID": [ITEM, "2.25.9"]}, 1),
        ({"WorklistLabel": "SIMULATION, NO PATIENTS", "PatientSex": "F"}, 1),
        ({"ScheduledWorkitemCodeSequence": {"CodeValue": "110005", "CodingSchemeDesignator": "DCM"}}, 2),
        ({"ScheduledWorkitemCodeSequence": {"CodeValue": "110004"}}, 0),
    ],
)
def test_keys_of_every_kind_match(site, client, asked, count):
    site.arrive(STUDY, patient_sex="F")
    site.flag(STUDY)
    site.arrive("1.2.4", patient_name="Müller^Zoë", patient_id="Q1")
    assert len(client.find(keys(**asked))) == count


def test_raise_reaches_a_watcher_who_only_looks_within_the_poll_of_the_role(site, client):
    """No request brings the item in line here: the role itself follows the list."""
    from triage_node.store import workitems

    site.arrive(STUDY)

    def priority():
        with site.store.read() as c:
            held = workitems.newest(c).get(STUDY)
        return held.priority.value if held else ""

    wait_until(lambda: priority() == "LOW", 30, "the item")
    site.flag(STUDY)
    wait_until(lambda: priority() == "HIGH", 30, "the raised item")


def _with(data, transaction_uid):
    data.TransactionUID = transaction_uid
    return data


def test_http_codes_are_those_of_the_standard(site):
    """PS3.18 tables 11.4.3-1, 11.5.3-1, 11.6.3-1, 11.7.3-1, 11.8.3-1, 11.10.3-1."""
    site.arrive(STUDY)
    client = RsClient(site)
    assert client.find(of_study(STUDY))
    codes = []

    def told(_: Status) -> None:
        codes.append(client.last.status_code)

    told(client.create(ITEM, keys(ProcedureStepState="SCHEDULED")))
    told(client.create("2.25.5", keys(ProcedureStepState="COMPLETED")))
    told(client.get("2.25.9")[0])
    told(client.change_state(ITEM, "COMPLETED", MINE))
    told(client.change_state(ITEM, "IN PROGRESS", MINE))
    told(client.change_state(ITEM, "COMPLETED", OTHERS))
    told(client.cancel(ITEM))
    told(client.update(ITEM, _with(performed(), OTHERS)))
    told(client.update(ITEM, _with(performed(), MINE)))
    told(client.change_state(ITEM, "COMPLETED", MINE))
    told(client.update(ITEM, _with(performed(), MINE)))
    told(client.cancel(ITEM))
    told(client.subscribe("2.25.9", "WATCH2"))
    client.close()
    assert codes == [409, 400, 404, 409, 200, 400, 409, 400, 200, 200, 400, 409, 404]
