"""Workitems of others: which is the reading, what is written to it, and answers that are none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from triage_node.domain.priority import Urgency
from triage_node.workitems import foreign
from triage_node.workitems.foreign import RANK, Person, Workitem
from triage_node.workitems.plain import BadDataSet

AT = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)


def item(uid: str, studies=("1.2",), accessions=("A1",), codes=()) -> Workitem:
    return Workitem(uid, "SCHEDULED", "LOW", frozenset(studies), frozenset(accessions), frozenset(codes))


def uids(*items: Workitem, accession: str = "A1") -> list[str]:
    return [i.uid for i in foreign.readings_of(items, "1.2", accession)]


@given(st.sampled_from([*RANK, "STAT", "high"]), st.sampled_from(Urgency))
def test_a_priority_is_never_lowered_and_an_unknown_one_never_touched(held, urgency):
    written = foreign.raised(held, urgency)
    if held in RANK:
        assert RANK[written] == max(RANK[held], RANK[foreign.wanted_priority(urgency)])
    else:
        assert written == held


def test_moderate_is_medium_and_everything_above_is_high():
    assert [foreign.wanted_priority(u) for u in (Urgency.MODERATE, Urgency.HIGH, Urgency.CRITICAL)] == [
        "MEDIUM",
        "HIGH",
        "HIGH",
    ]


def test_the_study_counts_before_the_accession_and_the_order_is_fixed():
    assert uids(item("1.9", studies=()), item("1.8"), item("1.7")) == ["1.7", "1.8"]


def test_the_accession_alone_counts_only_where_no_study_is_named():
    assert uids(item("1.9", studies=()), item("1.8", studies=("1.5",))) == ["1.9"]
    assert uids(item("1.9", studies=(), accessions=("",)), accession="") == []


def test_interpretation_counts_before_an_unnamed_kind_and_other_work_never():
    reading, site, print_ = ("110005", "DCM"), ("READ", "99SITE"), ("110008", "DCM")
    assert uids(item("1.7", codes=[site]), item("1.8", codes=[reading])) == ["1.8"]
    assert uids(item("1.7", codes=[site]), item("1.8"), item("1.9", codes=[print_])) == ["1.7", "1.8"]
    assert uids(item("1.9", codes=[print_])) == []


def test_a_new_reading_holds_what_an_n_create_must():
    who = Person("P1", "Clinic", "Müller^Jürgen", "19600101", "F")
    new = foreign.new_reading("1.2", "A1", "HIGH", "Suspected IPH. Not for diagnostic use.", who, AT)
    assert (new.ProcedureStepState, new.TransactionUID, new.ScheduledProcedureStepPriority) == ("SCHEDULED", "", "HIGH")
    assert new.ScheduledProcedureStepStartDateTime == "20261121083000+0000"
    assert (new.SpecificCharacterSet, new.PatientName, new.IssuerOfPatientID) == (
        "ISO_IR 192",
        "Müller^Jürgen",
        "Clinic",
    )
    assert new.ScheduledWorkitemCodeSequence[0].CodeValue == "110005"
    assert (new.InputReadinessState, new.CommentsOnTheScheduledProcedureStep) == (
        "READY",
        "Suspected IPH. Not for diagnostic use.",
    )
    # SOP class and instance travel in the command (PS3.4 CC.2.5)
    assert "SOPInstanceUID" not in new
    assert "SOPClassUID" not in new


def test_text_that_an_element_cannot_hold_is_cut_to_what_it_can():
    who = Person("P\\1\n" + "x" * 90, "", "山" * 90 + "=" + "田" * 90 + "=c=d")
    new = foreign.new_reading("1.2", "A\\2" + "9" * 30, "HIGH", "w" * 20_000, who, AT)
    assert (len(new.PatientID), new.PatientID[:3]) == (64, "P1x")
    assert str(new.PatientName) == "山" * 64 + "=" + "田" * 64 + "=c"
    assert new.ReferencedRequestSequence[0].AccessionNumber == ("A2" + "9" * 30)[:16]
    assert len(new.CommentsOnTheScheduledProcedureStep) == 10240


def test_damage_elsewhere_in_an_answer_does_not_matter():
    answer = Dataset()
    answer.SOPInstanceUID, answer.ProcedureStepState = "1.3", "SCHEDULED"
    answer.ScheduledProcedureStepPriority = "LOW"
    model = answer.to_json_dict() | {"00100010": {"vr": "PN", "Value": [7]}, "nonsense": 1}
    assert foreign.of_json(model) == Workitem("1.3", "SCHEDULED", "LOW")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda s: (
            st.lists(s, max_size=3)
            | st.dictionaries(
                st.sampled_from(["vr", "Value", "00080018", "00741000", "0040A370", "0020000D"]), s, max_size=4
            )
        ),
    )
)
def test_whatever_json_comes_is_a_workitem_or_a_bad_data_set(model):
    try:
        assert foreign.of_json(model).uid
    except BadDataSet:
        return


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "ProcedureStepState"])
def test_an_answer_without_uid_or_state_is_no_workitem(keyword):
    answer = Dataset()
    answer.SOPInstanceUID, answer.ProcedureStepState = "1.3", "SCHEDULED"
    delattr(answer, keyword)
    with pytest.raises(BadDataSet):
        foreign.of_data_set(answer)
