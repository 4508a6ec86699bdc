"""One queue, step by step: when it waits, when it asks, and that nothing ends it."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

from pydicom.uid import SecondaryCaptureImageStorage
from pynetdicom.sop_class import StorageCommitmentPushModel
from sqlalchemy import text

from tests.delivery.files import write
from tests.delivery.peers import raw_peer, receiver
from tests.delivery.roles import Site
from tests.delivery.test_commitment import archive_that_answers
from tests.support.waiting import wait_until
from triage_node.delivery.retry import LONGEST_WAIT
from triage_node.domain.delivery import ObjectKind, OutboxState
from triage_node.domain.mode_switch import ModeAction, ModeChange
from triage_node.processes.delivery import COMMITMENT_ASKED_AGAIN, Queue
from triage_node.processes.running import now
from triage_node.store import modes, outbox

CONTEXTS = [
    (SecondaryCaptureImageStorage, "1.2.840.10008.1.2.1"),
    (StorageCommitmentPushModel, "1.2.840.10008.1.2"),
]


def site_for(tmp_path, port, **more):
    archive = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port, "clinical": False}
    return Site(tmp_path / "site", [archive | {"response_timeout_s": 5.0} | more])


def queue_of(site):
    return Queue(site.running(), site.settings.archives[0])


def test_absent_archive_sees_one_attempt_not_one_for_each_batch(tmp_path):
    connections = []
    with raw_peer(lambda c: (connections.append(1), c.close())) as port:
        site = site_for(tmp_path, port, batch=5)
        site.queue([write(tmp_path, n) for n in range(20)])
        queue = queue_of(site)
        for _ in range(10):
            assert queue.send_some() is False
    assert len(connections) == 1
    tried = [r for r in site.rows() if r.tries]
    assert len(tried) == 5
    assert {r.state for r in site.rows()} == {OutboxState.PENDING}
    assert all(now() < r.not_before <= now() + LONGEST_WAIT for r in tried)
    assert {r.reason for r in tried} == {"association aborted or not answered"}


def test_while_the_mode_is_paused_a_clinical_archive_gets_what_takes_back_and_nothing_else(tmp_path):
    picture, note = write(tmp_path, 0), write(tmp_path, 1)
    with receiver() as pacs:
        site = site_for(tmp_path, pacs.port, clinical=True)
        site.queue([picture], reported=False)
        site.queue([note], kind=ObjectKind.REJECTION_NOTE)
        pause = ModeChange(now(), "dr. lee", ModeAction.PAUSE)
        with site.running().store.write() as c:
            modes.add(c, pause)
        queue = queue_of(site)
        assert queue.send_some() is True
        assert queue.send_some() is False
        assert site.states() == ["pending", "delivered"]
        with site.running().store.write() as c:
            modes.add(c, replace(pause, action=ModeAction.RESUME))
        assert queue.send_some() is True
    assert site.states() == ["delivered"] * 2


def test_one_bad_object_does_not_hold_up_the_queue(tmp_path):
    objects = [write(tmp_path, n) for n in range(3)]
    with receiver(status={objects[0].sop_instance_uid: 0xA700}) as pacs:
        site = site_for(tmp_path, pacs.port)
        site.queue(objects)
        queue = queue_of(site)
        assert queue.send_some() is True
        assert queue.send_some() is False
    assert site.states() == ["pending", "delivered", "delivered"]
    assert (site.rows()[0].reason, site.rows()[0].tries) == ("answered 0xA700", 1)
    assert not site.is_delivered()


def test_commitment_on_the_same_association_reaches_the_store(tmp_path):
    asked = []
    with receiver(CONTEXTS, handlers=archive_that_answers(asked)) as pacs:
        site = site_for(tmp_path, pacs.port, storage_commitment=True, batch=2)
        site.queue([write(tmp_path, n) for n in range(4)])
        queue = queue_of(site)
        while queue.send_some():
            pass
        assert site.states() == ["sent"] * 4
        queue.ask()
    assert [sorted(uids) for _, uids in asked] == [sorted(r.sop_instance_uid for r in site.rows())]
    assert site.states() == ["committed"] * 4
    assert site.is_delivered()


def test_answer_to_a_question_that_nobody_asked_changes_nothing(tmp_path):
    site = site_for(tmp_path, 104)
    site.queue([write(tmp_path, 1)])
    (row,) = site.rows()
    outbox.record_outcome(site.store, row.id, OutboxState.SENT, now(), transaction_uid="2.25.77")
    assert outbox.commitment_result(site.store, "2.25.78", [row.sop_instance_uid], [], now()) == 0
    assert site.states() == ["sent"]


def test_object_that_was_sent_before_a_kill_is_asked_for_at_the_next_start(tmp_path):
    """The role was killed between sending and asking."""
    asked = []
    with receiver(CONTEXTS, handlers=archive_that_answers(asked)) as pacs:
        site = site_for(tmp_path, pacs.port, storage_commitment=True)
        site.queue([write(tmp_path, 1)])
        (row,) = site.rows()
        outbox.record_outcome(site.store, row.id, OutboxState.SENT, now())
        queue_of(site).ask_again()
    assert [uids for _, uids in asked] == [[row.sop_instance_uid]]
    assert site.states() == ["committed"]


def test_object_whose_commitment_was_never_answered_is_asked_for_again(tmp_path):
    """The archive forgot."""
    asked = []
    with receiver(CONTEXTS, handlers=archive_that_answers(asked)) as pacs:
        site = site_for(tmp_path, pacs.port, storage_commitment=True)
        site.queue([write(tmp_path, 1)])
        (row,) = site.rows()
        queue = queue_of(site)
        queue.ask_again()
        outbox.record_outcome(site.store, row.id, OutboxState.SENT, now())
        queue.ask_again()
        assert asked == []
        outbox.renew_commitment(site.store, [row.id], "", now() - COMMITMENT_ASKED_AGAIN - timedelta(seconds=1))
        queue.ask_again()
    assert [uids for _, uids in asked] == [[row.sop_instance_uid]]
    assert site.states() == ["committed"]


def test_database_that_is_away_for_a_while_ends_no_queue(tmp_path, caplog):
    with receiver() as pacs:
        site = site_for(tmp_path, pacs.port)
        site.queue([write(tmp_path, 1)])
        with site.store.write() as c:
            c.execute(text("ALTER TABLE outbox RENAME TO away"))
        running = site.running()
        thread = threading.Thread(target=Queue(running, site.settings.archives[0]).run)
        thread.start()
        try:
            wait_until(lambda: "the database does not answer" in caplog.text, 10, "the queue has met the error")
            with site.store.write() as c:
                c.execute(text("ALTER TABLE away RENAME TO outbox"))
            wait_until(site.is_delivered, 20, "the study is delivered")
        finally:
            running.stop.set()
            thread.join(10)
    assert not thread.is_alive()
    assert len(pacs.received) == 1


def test_object_that_the_archive_always_fails_on_does_not_hold_up_the_next_one(tmp_path):
    bad, good = write(tmp_path, 1), write(tmp_path, 2)
    with receiver(status={bad.sop_instance_uid: 0x0110}) as pacs:
        site = site_for(tmp_path, pacs.port)
        site.queue([bad], reported=False)
        queue = queue_of(site)
        assert queue.send_some() is False
        site.queue([good])
        wait_until(queue.send_some, 15, "the next object goes out within seconds")
    assert site.states() == ["pending", "delivered"]


def test_what_a_process_before_held_is_freed_once_and_not_at_every_turn(tmp_path, monkeypatch):
    site = site_for(tmp_path, 1)  # no commitment is asked for there
    queue = queue_of(site)
    freed, turns = [], iter(range(4))
    monkeypatch.setattr(outbox, "take_from_dead", lambda *_: freed.append(1))
    monkeypatch.setattr(queue, "send_some", lambda: next(turns) < 3 or queue._running.stop.set() or True)
    queue.run()
    assert freed == [1]
