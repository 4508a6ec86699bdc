"""Raising at a UPS manager over DIMSE: managers on pynetdicom and, independent of it, on dcmjs-dimse."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from pynetdicom.sop_class import UnifiedProcedureStepPush, UnifiedProcedureStepWatch

from tests.counterparts.ups_peer import dcmjs_managers
from tests.support.certificates import server_certificate
from tests.worklist.adapter_contract import KNOWN
from tests.worklist.pynetdicom_manager import pynetdicom_manager
from tests.worklist.raising_suite import RaisingSuite
from tests.worklist.ups_items import SHORT_S, Item, raise_of
from triage_node.domain.errors import PermanentDeliveryError, TransientDeliveryError
from triage_node.worklist import ups
from triage_node.worklist.adapter import Outcome

PUSH = "1.2.840.10008.5.1.4.34.6.1"


@pytest.fixture(scope="module")
def pynetdicom():
    """A manager as at its start; the same server as long as nobody stops it."""
    with ExitStack() as servers:
        running = []

        def fresh(*items):
            if not running or not running[-1].runs:
                running.append(servers.enter_context(pynetdicom_manager()))
            running[-1].reset(*items)
            return running[-1]

        yield fresh


@pytest.fixture(scope="module")
def dcmjs():
    with dcmjs_managers() as managers:
        yield managers.fresh


class TestAtAManagerOnPynetdicom(RaisingSuite):
    @pytest.fixture(autouse=True)
    def _manager(self, pynetdicom):
        self.manager = pynetdicom


class TestAtAManagerOnDcmjsDimse(RaisingSuite):
    @pytest.fixture(autouse=True)
    def _manager(self, dcmjs):
        self.manager = dcmjs

    def begin_reading(self, manager, uid):
        manager.tell(do="change", uid=uid, state="IN PROGRESS")


# ---- what goes over the wire


def test_n_requests_name_ups_push_on_a_pull_context(pynetdicom):
    manager = pynetdicom()
    manager.make().raise_study(raise_of())
    assert manager.sop_classes == {PUSH}
    assert manager.requests == ["C-FIND", "N-SET", "N-GET"]


def test_the_independent_manager_is_told_the_same_class(dcmjs):
    manager = dcmjs()
    manager.make().raise_study(raise_of())
    assert set(manager.tell(do="items")["sopClasses"]) == {PUSH}


def test_an_accession_with_umlauts_is_found(pynetdicom):
    manager = pynetdicom(Item("1.3.1", "", "ÄÖ-1"))
    assert manager.make().raise_study(raise_of(accession_number="ÄÖ-1")).outcome is Outcome.ACKNOWLEDGED


@pytest.mark.parametrize("accession", ["*", "A?", "A1\\A2", "", "  "])
def test_an_accession_that_would_ask_for_something_else_is_not_asked_for(pynetdicom, accession):
    manager = pynetdicom(Item("1.3.1", "", "A1"))
    assert manager.make().raise_study(raise_of(accession_number=accession)).outcome is Outcome.UNKNOWN_STUDY
    assert manager.requests == ["C-FIND"]


def test_a_manager_that_does_not_know_the_keys_has_only_the_right_workitem_raised(pynetdicom):
    manager = pynetdicom(Item("1.3.1", KNOWN, "A1"), Item("1.3.2", "1.2.9", "A1"), Item("1.3.3", "", "A2"))
    manager.knows_keys = False
    assert manager.make().raise_study(raise_of()).outcome is Outcome.ACKNOWLEDGED
    assert [i.priority for i in manager.held().values()] == ["HIGH", "LOW", "LOW"]


def test_a_reading_of_ours_that_the_manager_does_not_find_by_study_is_known_by_its_uid(pynetdicom):
    manager = pynetdicom(Item("1.3.9", "1.2.9"))
    adapter = manager.make(create_missing=True)
    adapter.raise_study(raise_of())
    manager.results = 0
    again = adapter.raise_study(raise_of())
    assert (again.outcome, len(manager.held())) == (Outcome.ACKNOWLEDGED, 2)


# ---- statuses (STANDARDS.md 3.2.5)


@pytest.mark.parametrize("status", [0xC300, 0xC302, 0xC311])
def test_a_change_refused_as_too_late_is_too_late(pynetdicom, status):
    manager = pynetdicom()
    manager.instead["N-SET"] = lambda _: status
    assert manager.make().raise_study(raise_of()).outcome is Outcome.TOO_LATE


@pytest.mark.parametrize("status", [0x0110, 0x0213, 0xA700])
@pytest.mark.parametrize("verb", ["C-FIND", "N-SET"])
def test_a_manager_in_trouble_is_a_transient_error(pynetdicom, verb, status):
    manager = pynetdicom()
    manager.instead[verb] = lambda _: status
    with pytest.raises(TransientDeliveryError, match=f"0x{status:04X}"):
        manager.make().raise_study(raise_of())


@pytest.mark.parametrize(
    ("verb", "status"), [("C-FIND", 0x0122), ("N-SET", 0x0124), ("N-SET", 0xC310), ("N-CREATE", 0xC309)]
)
def test_a_refusal_for_good_is_a_permanent_error_that_names_the_status(pynetdicom, verb, status):
    manager = pynetdicom(*([Item("1.3.9", "1.2.9")] if verb == "N-CREATE" else []))
    manager.instead[verb] = lambda _: status
    with pytest.raises(PermanentDeliveryError, match=f"{verb} answered with 0x{status:04X}"):
        manager.make(create_missing=True).raise_study(raise_of())


@pytest.mark.parametrize("status", [0xC301, 0xC307])
def test_a_workitem_that_the_manager_offers_and_does_not_know_is_asked_for_once_more_and_then_parked(
    pynetdicom, status
):
    manager = pynetdicom()
    manager.instead["N-SET"] = lambda _: status
    with pytest.raises(PermanentDeliveryError):
        manager.make().raise_study(raise_of())
    assert manager.requests == ["C-FIND", "N-SET"] * 2


def test_a_claim_between_question_and_change_is_too_late(pynetdicom):
    manager = pynetdicom()

    def claimed(_):
        manager.held()["1.3.1"].state = "IN PROGRESS"

    manager.instead["N-SET"] = claimed
    assert manager.make().raise_study(raise_of()).outcome is Outcome.TOO_LATE
    assert manager.held()["1.3.1"].priority == "LOW"


def test_a_manager_that_says_yes_and_changes_nothing_is_not_confirmed(pynetdicom):
    manager = pynetdicom()
    manager.instead["N-SET"] = lambda _: 0x0000
    answer = manager.make().raise_study(raise_of())
    assert (answer.outcome, answer.written) == (Outcome.NOT_CONFIRMED, "1.3.1=LOW")


def test_what_was_written_is_kept_when_it_cannot_be_read_back(pynetdicom):
    manager = pynetdicom()
    manager.instead["N-GET"] = lambda _: 0x0110
    answer = manager.make().raise_study(raise_of())
    assert (answer.outcome, answer.held, answer.written) == (Outcome.NOT_CONFIRMED, "1.3.1=LOW", "1.3.1=HIGH")


# ---- peers that misbehave


def test_an_association_refused_for_good_is_a_permanent_error(pynetdicom, dcmjs):
    for manager in (pynetdicom(), dcmjs()):
        with pytest.raises(PermanentDeliveryError, match="(?i)called AE title not recogni"):
            manager.make(ae_title="NOBODY").raise_study(raise_of())


def test_a_peer_that_takes_no_ups_pull_or_no_push_is_a_permanent_error():
    with (
        pynetdicom_manager(sop_classes=[UnifiedProcedureStepPush]) as pushed,
        pytest.raises(PermanentDeliveryError, match="Pull"),
    ):
        pushed.make(create_missing=True).raise_study(raise_of())
    with (
        pynetdicom_manager(sop_classes=[UnifiedProcedureStepWatch]) as watched,
        pytest.raises(PermanentDeliveryError, match="no presentation context"),
    ):
        watched.make().raise_study(raise_of())


@pytest.mark.parametrize("mode", ["garbage", "closes"])
def test_a_peer_that_answers_garbage_or_hangs_up_is_a_transient_error(dcmjs, mode):
    manager = dcmjs()
    manager.tell(do="mode", mode=mode)
    with pytest.raises(TransientDeliveryError):
        manager.make(timeout_s=SHORT_S).raise_study(raise_of())


def test_a_peer_that_never_answers_the_association_is_left_in_time(dcmjs):
    manager = dcmjs()
    manager.tell(do="mode", mode="silent-at-association")
    with pytest.raises(TransientDeliveryError):
        manager.make(timeout_s=SHORT_S).raise_study(raise_of())


def test_an_answer_that_comes_twice_counts_for_nothing_else(dcmjs):
    manager = dcmjs(Item("1.3.1", KNOWN), Item("1.3.2", KNOWN))
    adapter = manager.make()
    manager.tell(do="mode", mode="twice")
    with pytest.raises(TransientDeliveryError):
        adapter.raise_study(raise_of())
    manager.tell(do="mode", mode="")
    assert adapter.raise_study(raise_of()).outcome is Outcome.ACKNOWLEDGED
    assert [i.priority for i in manager.held().values()] == ["HIGH", "HIGH"]


def test_a_lost_acknowledgement_does_no_harm_the_second_time(dcmjs):
    manager = dcmjs()
    adapter = manager.make()
    manager.tell(do="mode", mode="reset-after-set")
    with pytest.raises(TransientDeliveryError) as lost:
        adapter.raise_study(raise_of())
    # what the second try cannot see any more
    assert (lost.value.held, lost.value.written) == ("1.3.1=LOW", "1.3.1=HIGH")
    assert manager.priority(KNOWN) == 2
    manager.tell(do="mode", mode="")
    assert adapter.raise_study(raise_of()).outcome is Outcome.ACKNOWLEDGED
    assert manager.priority(KNOWN) == 2


def test_a_result_list_without_end_is_cut_off(pynetdicom):
    manager = pynetdicom()
    manager.results = ups.MOST_RESULTS + 1
    with pytest.raises(PermanentDeliveryError, match="more than 200 workitems"):
        manager.make().raise_study(raise_of())


def test_an_answer_that_is_too_large_is_cut_off(pynetdicom, monkeypatch):
    monkeypatch.setattr(ups, "MOST_BYTES", 20_000)
    manager = pynetdicom()
    manager.results = ups.MOST_RESULTS
    with pytest.raises(TransientDeliveryError):
        manager.make().raise_study(raise_of())


@pytest.mark.parametrize("damage", [{"uid": "no uid"}, {"state": ""}])
def test_an_answer_that_is_no_workitem_is_a_transient_error(pynetdicom, damage):
    manager = pynetdicom(Item(**{"uid": "1.3.1", "study": KNOWN} | damage))
    with pytest.raises(TransientDeliveryError, match="no workitem"):
        manager.make().raise_study(raise_of())


def test_a_priority_that_is_none_is_left_alone_and_never_called_re_ordered(pynetdicom):
    manager = pynetdicom(Item("1.3.1", KNOWN, priority="STAT"))
    assert manager.make().raise_study(raise_of()).outcome is Outcome.NOT_CONFIRMED
    assert manager.held()["1.3.1"].priority == "STAT"


# ---- TLS


def test_over_tls_only_the_manager_whose_certificate_is_known_is_told_anything(tmp_path):
    context, ca = server_certificate(tmp_path, "ris")
    _, other = server_certificate(tmp_path, "other")
    with pynetdicom_manager(tls=context) as manager:
        with pytest.raises(TransientDeliveryError):
            manager.make(tls=True, tls_ca=other).raise_study(raise_of())
        with pytest.raises(TransientDeliveryError, match="cannot be read"):
            manager.make(tls=True, tls_ca=tmp_path / "no").raise_study(raise_of())
        assert manager.requests == []
        assert manager.make(tls=True, tls_ca=ca).raise_study(raise_of()).outcome is Outcome.ACKNOWLEDGED
