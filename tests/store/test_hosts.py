"""What keeps several hosts on one store apart: turns, leases that are put off, and the line to the database."""

import threading
from contextlib import ExitStack
from datetime import timedelta

import pytest
from sqlalchemy import text

from tests.store.conftest import NOW
from tests.store.test_studies import complete, received  # noqa: F401 (a fixture)
from tests.support.waiting import wait_until
from triage_node.domain.errors import LeaseLost, StoreError, StoreUnavailable
from triage_node.domain.study import StudyState
from triage_node.store import heartbeat, instances, studies
from triage_node.store.engine import Store, open_store
from triage_node.store.turns import SESSION_S, Turns
from triage_node.store.upgrade import upgrade

SECOND = timedelta(seconds=1)


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def of_two(store, clock):
    """The turns of two processes."""
    pair = [Turns(store, owner, lambda owner: False, clock) for owner in ("a@one:1", "a@two:2")]
    yield pair
    for turns in pair:
        turns.give_up()


def test_one_of_two_has_a_turn_and_the_other_takes_it_when_it_is_given_up(of_two):
    one, two = of_two
    assert [t.mine("scheduler") for t in (one, two)] == [True, False]
    assert [t.mine("archive pacs") for t in (two, one)] == [True, False]
    assert [t.still("scheduler") for t in (one, two)] == [True, False]
    one.give_up()
    # a server ends a session, and with it its locks, in its own time
    wait_until(lambda: two.mine("scheduler"), 5, "the other to have the turn")
    assert not one.still("scheduler")


def test_a_turn_is_taken_over_from_whoever_fell_silent(of_two, store, clock):
    one, two = of_two
    assert one.mine("scheduler")
    if store.is_sqlite:
        clock.now += (SESSION_S + 1) * SECOND
    else:
        end_sessions(store, "SELECT pid FROM pg_locks WHERE locktype = 'advisory'")
    assert wait_until(lambda: two.mine("scheduler"), 30, "the turn is free")
    one._answered_at = 0.0  # long ago, so it asks again
    if not store.is_sqlite:
        with pytest.raises(StoreUnavailable):
            one.keep()
    assert not one.mine("scheduler")
    assert not one.still("scheduler")


def test_a_turn_of_a_dead_process_on_sqlite_is_free_at_once(tmp_path, clock):
    store = open_store(f"sqlite:///{tmp_path / 'triage.db'}")
    upgrade(store)
    assert Turns(store, "a@one:1", lambda owner: False, clock).mine("scheduler")
    assert Turns(store, "a@one:2", lambda owner: owner == "a@one:1", clock).mine("scheduler")
    store.close()


def test_a_lease_that_is_put_off_is_not_taken_over(complete):  # noqa: F811
    assert studies.claim(complete, "one", NOW, 20 * SECOND) is not None
    assert studies.renew(complete, "1.2.3", "one", NOW + 15 * SECOND, 20 * SECOND)
    assert studies.claim(complete, "two", NOW + 30 * SECOND, 20 * SECOND) is None
    assert not studies.renew(complete, "1.2.3", "two", NOW, 20 * SECOND)


def test_who_comes_back_late_can_neither_hold_nor_renew_nor_release_what_was_taken_over(complete):  # noqa: F811
    studies.claim(complete, "one", NOW, 20 * SECOND)
    with complete.write() as c:
        studies.hold(c, "1.2.3", "one")
    assert studies.claim(complete, "two", NOW + 21 * SECOND, 20 * SECOND) is not None
    with pytest.raises(LeaseLost), complete.write() as c:
        studies.hold(c, "1.2.3", "one")
    assert not studies.renew(complete, "1.2.3", "one", NOW + 22 * SECOND, 20 * SECOND)
    studies.release(complete, "1.2.3", "one", NOW + 22 * SECOND, "late")
    assert studies.get(complete, "1.2.3").state is StudyState.ANALYSING


def test_a_study_that_is_released_waits_again_and_has_lost_no_try(complete):  # noqa: F811
    for k in range(5):
        assert studies.claim(complete, "one", NOW + k * SECOND, 20 * SECOND) is not None
        studies.release(complete, "1.2.3", "one", NOW + k * SECOND, "the database did not answer")
    study = studies.get(complete, "1.2.3")
    assert (study.state, study.tries) == (StudyState.COMPLETE, 0)


def test_a_receiver_that_starts_again_ends_its_own_associations_only(store, monkeypatch):
    ids = [
        instances.record_association(store, "CT", "TRIAGE", "10.0.0.1", False, NOW, receiver=r) for r in ("one", "two")
    ]
    for host, at in (("one", NOW), ("two", NOW + 60 * SECOND)):
        monkeypatch.setattr(heartbeat, "host", lambda host=host: host)
        heartbeat.beat(store, "ingest", at, {"of": host})
    silent = heartbeat.silent(store, "ingest", NOW + 61 * SECOND)
    assert silent == {"one"}
    assert instances.open_association_ids(store) == set(ids)
    assert instances.open_association_ids(store, silent) == {ids[1]}
    assert heartbeat.heartbeats(store)["ingest"] == (NOW + 60 * SECOND, {"of": "two"})
    instances.close_open_associations(store, NOW, "two")
    assert instances.open_association_ids(store) == {ids[0]}


def test_two_receivers_that_write_the_same_instances_count_them_once(store):
    barrier = threading.Barrier(2)

    def write():
        barrier.wait()
        for k in range(10):
            instances.record_batch(store, [received(k), received(k, "1.2.4")])

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [studies.get(store, uid).instances for uid in ("1.2.3", "1.2.4")] == [10, 10]
    assert instances.repeats(store, "1.2.3") == []


def test_a_server_that_hangs_up_is_unavailable_and_the_next_call_has_a_new_connection(postgres_url):
    store = open_store(postgres_url)
    with ExitStack() as open_for:
        c = open_for.enter_context(store.read())
        end_sessions(store, f"SELECT {c.execute(text('SELECT pg_backend_pid()')).scalar_one()}")
        with pytest.raises(StoreUnavailable), store.in_our_words():
            c.execute(text("SELECT 1"))
    with store.read() as c:
        assert c.execute(text("SELECT 1")).scalar_one() == 1
    store.close()


def test_a_server_that_is_not_there_is_unavailable():
    store = open_store("postgresql+pg8000://triage@127.0.0.1:9/postgres")
    with pytest.raises(StoreUnavailable, match="127.0.0.1 port 9"), store.read():
        pass


def test_a_text_that_cannot_be_sent_leaves_no_answer_behind_for_the_next_question(postgres_url):
    """The driver stops in the middle of a statement, and its connection gave whoever came next the answer to that one."""
    store = open_store(postgres_url)
    with pytest.raises(UnicodeEncodeError), store.read() as c:
        c.execute(text("SELECT :said"), {"said": ["half of a pair \ud800"]})
    for number in range(3):
        with store.write() as c:
            assert c.execute(text("SELECT :number + 0"), {"number": number}).scalar_one() == number
    store.close()


@pytest.mark.parametrize("statement", ["SELECT nothing_of_this_name", "SELECT 1 FROM nowhere"])
def test_a_statement_that_cannot_work_is_no_fault_of_the_line(postgres_url, statement):
    store = open_store(postgres_url)
    with pytest.raises(StoreError) as error, store.read() as c:
        c.execute(text(statement))
    assert not isinstance(error.value, StoreUnavailable)
    store.close()


def test_both_sides_look_whether_the_other_is_there(postgres_url):
    store = open_store(postgres_url)
    with store.read() as c:
        assert c.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one() == "1min"
    store.close()


def end_sessions(store: Store, pids: str) -> None:
    with store.read() as c:
        c.execute(text(f"SELECT pg_terminate_backend(pid) FROM ({pids}) AS gone(pid) WHERE pid <> pg_backend_pid()"))
