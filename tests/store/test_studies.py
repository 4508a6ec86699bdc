from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from tests.store.conftest import NOW
from tests.support.tampering import tamper
from triage_node.domain.errors import StoreError
from triage_node.domain.instance import InstanceHeader, ReceivedInstance
from triage_node.domain.priority import Flag, OrderClass, ReadingState, Urgency, WorklistRow
from triage_node.domain.study import TRANSITIONS, SelectedSeries, StudyEvent, StudyState
from triage_node.store import audit, instances, meta, retention, studies, workitems, worklist
from triage_node.store.schema import study, worklist_row

SECOND = timedelta(seconds=1)


def received(k: int, study: str = "1.2.3", digest: str | None = None) -> ReceivedInstance:
    header = InstanceHeader(
        sop_instance_uid=f"{study}.9.{k}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        study_instance_uid=study,
        series_instance_uid=f"{study}.9",
        patient_name="Müller^Zoë",
        image_position_patient=(0.0, 0.0, 5.0 * k),
    )
    return ReceivedInstance(
        sha256=digest or f"{study}-{k}".ljust(64, "0"),
        size_bytes=1,
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        received_at=NOW + k * SECOND,
        header=header,
    )


@pytest.fixture
def complete(store):
    instances.record_batch(store, [received(k) for k in range(3)])
    with store.write() as c:
        worklist.add_row(c, WorklistRow("1.2.3", OrderClass.ROUTINE, NOW), "live")
        assert studies.close(c, "1.2.3", "released", False, NOW + 5 * SECOND, expected_instances=3)
    return store


def test_rows_come_back_as_they_went_in(store):
    instances.record_batch(store, [received(k) for k in range(3)])
    assert instances.of_study(store, "1.2.3") == [received(k) for k in range(3)]
    study = studies.get(store, "1.2.3")
    assert (study.instances, study.state, study.last_instance_at) == (3, StudyState.RECEIVING, NOW + 2 * SECOND)
    assert study.identity.patient_name == "Müller^Zoë"


def test_same_bytes_again_change_nothing(store):
    instances.record_batch(store, [received(1), received(1)])
    instances.record_batch(store, [received(1)])
    assert instances.count(store) == 1
    assert studies.get(store, "1.2.3").instances == 1


def test_other_bytes_under_the_same_uid_are_kept_apart(store):
    instances.record_batch(store, [received(1)])
    other = received(1, digest="f" * 64)
    instances.record_batch(store, [other])
    assert instances.of_study(store, "1.2.3") == [received(1)]
    assert instances.repeats(store, "1.2.3") == [other]


def test_unreadable_instance_is_stored_without_a_study(store):
    instances.record_batch(store, [replace(received(1), header=None, quarantine_reason="no data set")])
    assert studies.in_states(store, *StudyState) == []
    assert instances.quarantined(store)[0][2] == "no data set"


def test_blob_without_row_is_found(store):
    instances.record_batch(store, [received(1)])
    assert instances.blobs_without_row(store, {received(1).sha256, "a" * 64}) == {"a" * 64}


def test_close_is_refused_when_a_slice_came_meanwhile(store):
    instances.record_batch(store, [received(k) for k in range(3)])
    with store.write() as c:
        assert not studies.close(c, "1.2.3", "released", False, NOW, expected_instances=2)
    assert studies.get(store, "1.2.3").state is StudyState.RECEIVING


def test_live_study_is_claimed_before_a_back_load_that_waits_longer(complete):
    instances.record_batch(complete, [received(k, "1.2.4") for k in range(3)])
    with complete.write() as c:
        worklist.add_row(c, WorklistRow("1.2.4", OrderClass.ROUTINE, NOW, live=False), "acquired 2 d before it arrived")
        studies.close(c, "1.2.4", "released", False, NOW, expected_instances=3)
    claimed = [studies.claim(complete, "a", NOW + 60 * SECOND, 60 * SECOND).study_instance_uid for _ in range(2)]
    assert claimed == ["1.2.3", "1.2.4"]


def test_claim_takes_a_study_once(complete):
    now = NOW + 6 * SECOND
    assert studies.claim(complete, "a", now, 60 * SECOND).study_instance_uid == "1.2.3"
    assert studies.claim(complete, "b", now, 60 * SECOND) is None


def test_expired_lease_is_taken_over_and_third_failure_parks(complete):
    now = NOW + 6 * SECOND
    for k in range(studies.MAX_TRIES):
        assert studies.claim(complete, f"owner {k}", now, 10 * SECOND) is not None
        now += 11 * SECOND
    assert studies.claim(complete, "next", now, 10 * SECOND) is None
    study = studies.get(complete, "1.2.3")
    assert study.state is StudyState.FAILED
    assert "owner 2 stopped" in study.reason
    assert worklist.rows(complete)[0].row.status_words.startswith("not analysed, failed: analysis: owner 2")


def test_failure_gives_back_and_then_parks_with_the_stage(complete):
    states = []
    for k in range(3):
        studies.claim(complete, "a", NOW + k * SECOND, 60 * SECOND)
        states.append(studies.give_back(complete, "1.2.3", "a", NOW + k * SECOND, "volume", "no memory"))
    assert states == [StudyState.COMPLETE, StudyState.COMPLETE, StudyState.FAILED]
    assert studies.get(complete, "1.2.3").reason == "volume: no memory (3 tries)"


def test_what_failed_for_want_of_something_is_tried_again_ever_less_often_and_not_for_ever(complete):
    now, waits = NOW, []
    instants = [k for wait in (15, 30, 60, 120, 240, 480, 960, 1920, 3600) for k in (wait - 1, wait)]
    while True:
        studies.claim(complete, "a", now, 60 * SECOND)
        if studies.give_back(complete, "1.2.3", "a", now, "report", "no room", may_pass=True) is StudyState.COMPLETE:
            continue
        assert studies.get(complete, "1.2.3").reason.startswith("report: no room (")
        again = next((k for k in instants if studies.try_failed_again(complete, now + k * SECOND)), None)
        if again is None:
            break
        waits.append(again)
        now += again * SECOND
    assert waits[:4] == [15, 30, 60, 120]
    assert waits[-1] == 3600
    assert studies.get(complete, "1.2.3").tries == studies.MOST_TRIES
    assert len(waits) == studies.MOST_TRIES - studies.MAX_TRIES
    instances.record_batch(complete, [received(8)])
    assert studies.get(complete, "1.2.3").tries == 0


def test_slice_during_analysis_reopens_at_its_end(complete):
    study = studies.claim(complete, "a", NOW, 60 * SECOND)
    instances.record_batch(complete, [received(7)])
    assert studies.get(complete, "1.2.3").state is StudyState.ANALYSING
    with complete.write() as c:
        new = studies.finish(c, "1.2.3", StudyEvent.REPORTED, NOW, "", study.instances)
    assert new is StudyState.RECEIVING


def test_late_slice_reopens_a_declined_study(complete):
    study = studies.claim(complete, "a", NOW, 60 * SECOND)
    with complete.write() as c:
        studies.set_selection(c, "1.2.3", SelectedSeries(None, "localizer only", (("1.2.3.9", 1, "localizer"),)))
        studies.finish(c, "1.2.3", StudyEvent.DECLINED, NOW, "localizer only", study.instances)
    assert worklist.rows(complete)[0].row.status_words == "not analysed: localizer only"
    assert studies.get(complete, "1.2.3").selection.rejected == (("1.2.3.9", 1, "localizer"),)
    instances.record_batch(complete, [received(8)])
    assert studies.get(complete, "1.2.3").state is StudyState.RECEIVING


@pytest.mark.parametrize(
    "event", [StudyEvent.DECLINED, StudyEvent.RULED_OUT, StudyEvent.QUARANTINED, StudyEvent.FAILED]
)
def test_no_decline_without_a_reason(complete, event):
    studies.claim(complete, "a", NOW, SECOND)
    with pytest.raises(StoreError, match="needs a reason"), complete.write() as c:
        studies.advance(c, "1.2.3", event, NOW)


def test_arrow_that_the_table_lacks_is_refused_and_rolled_back(complete):
    def decide_and_deliver():
        with complete.write() as c:
            studies.mark(c, "1.2.3", "decided", NOW)
            studies.advance(c, "1.2.3", StudyEvent.DELIVERED, NOW)

    with pytest.raises(StoreError, match="cannot be delivered"):
        decide_and_deliver()
    assert "decided" not in [e.moment for e in studies.timeline_of(complete, "1.2.3")]


def test_every_state_but_the_last_can_be_left():
    left = {state for state, _ in TRANSITIONS}
    assert set(StudyState) - left == {StudyState.QUARANTINED}


def test_timeline_tells_first_byte_last_slice_and_signal(complete):
    moments = [(e.moment, e.detail) for e in studies.timeline_of(complete, "1.2.3")]
    assert moments == [("first byte", ""), ("last slice", ""), ("complete", "released")]


def test_flag_is_raised_and_never_lowered(complete):
    def flag(urgency):
        return Flag("iph", urgency, "Suspected IPH", NOW)

    before = meta.list_version(complete)
    with complete.write() as c:
        assert worklist.raise_flag(c, "1.2.3", flag(Urgency.HIGH))
        assert not worklist.raise_flag(c, "1.2.3", flag(Urgency.MODERATE))
        assert worklist.raise_flag(c, "1.2.3", flag(Urgency.CRITICAL))
    assert worklist.rows(complete)[0].row.flag == flag(Urgency.CRITICAL)
    assert meta.list_version(complete) > before


def test_audit_chain_shows_a_changed_row(complete):
    assert audit.first_broken(complete) is None
    tamper(complete, "UPDATE audit SET new = 'something else' WHERE id = (SELECT min(id) FROM audit)")
    assert audit.first_broken(complete) == 1


def test_simulation_is_fixed_at_creation(store):
    assert meta.is_simulation(store)
    with pytest.raises(StoreError, match="fixed when a store is created"):
        meta.set_simulation(store, False)


def test_the_same_instance_uids_under_another_study_make_a_study_of_its_own(store):
    instances.record_batch(store, [received(k) for k in range(3)])
    moved = [
        replace(r, sha256=f"moved-{k}".ljust(64, "0"), header=replace(r.header, study_instance_uid="1.2.4"))
        for k in range(3)
        if (r := received(k))
    ]
    instances.record_batch(store, moved)
    assert [i.sha256 for i in instances.of_study(store, "1.2.4")] == [m.sha256 for m in moved]
    assert len(instances.of_study(store, "1.2.3")) == 3
    assert instances.repeats(store, "1.2.4") == []


def test_an_instance_that_comes_again_takes_the_place_of_one_in_quarantine(store):
    instances.record_batch(store, [received(k) for k in range(3)])
    instances.quarantine(store, received(1).sha256, "its pixels end the decoder")
    good = received(1, digest="b" * 64)
    instances.record_batch(store, [good])
    assert sorted(i.sha256 for i in instances.of_study(store, "1.2.3")) == sorted(
        [received(0).sha256, received(2).sha256, good.sha256]
    )
    with store.read() as c:
        (listed,) = workitems.instances_of(c, "1.2.3").values()
    assert len(listed) == 3


def test_pixels_that_come_again_after_their_removal_are_removed_again(complete):
    with complete.write() as c:
        c.execute(update(study).values(state=StudyState.DECLINED.value))
        c.execute(update(worklist_row).values(reading_state=ReadingState.READ.value))
    late = NOW + timedelta(days=8)
    removable = [sha256 for sha256, _ in retention.removable_sources(complete, late, 7)]
    assert len(removable) == 3
    for sha256 in removable:
        retention.source_removed(complete, sha256, late)
    assert retention.removable_sources(complete, late, 7) == []
    instances.record_batch(complete, [received(1)])
    assert [sha256 for sha256, _ in retention.removable_sources(complete, late, 7)] == [received(1).sha256]
