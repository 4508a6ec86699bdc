"""Matching of keys (PS3.4 C.2.2.2) and data sets from others."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from triage_node.workitems.match import matches, returned
from triage_node.workitems.plain import BadDataSet, checked, from_json, to_json


def data(**values):
    found = Dataset()
    for keyword, value in values.items():
        setattr(found, keyword, Sequence([data(**value)]) if isinstance(value, dict) else value)
    return found


ITEM = data(
    SOPInstanceUID="2.25.1",
    PatientName="Müller^Zoë=山田^太郎",
    PatientID="P[1]",
    ScheduledProcedureStepStartDateTime="20261121030000+0000",
    PatientBirthDate="19500102",
    ProcedureStepState="SCHEDULED",
    TransactionUID="2.25.7",
    ReferencedRequestSequence={"StudyInstanceUID": "1.2.3", "AccessionNumber": "A77"},
)
START = "ScheduledProcedureStepStartDateTime"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, True),
        ({"PatientID": ""}, True),
        ({"PatientID": "P[1]"}, True),
        ({"PatientID": "P*"}, True),
        ({"PatientID": "P[1*"}, True),
        ({"PatientID": "P1"}, False),
        ({"PatientID": "p*"}, False),
        ({"PatientName": "müller^zoë=山田^太郎"}, True),
        ({"PatientName": "MÜLLER*"}, True),
        ({"PatientName": "M?ller^Zo?*"}, True),
        ({"PatientName": "Muller*"}, False),
        ({"SOPInstanceUID": ["2.25.9", "2.25.1"]}, True),
        ({"SOPInstanceUID": "2.25"}, False),
        ({"PatientBirthDate": "19500101-19500103"}, True),
        ({"PatientBirthDate": "19500102-"}, True),
        ({"PatientBirthDate": "-19500101"}, False),
        ({START: "20261121"}, True),
        ({START: "20261121040000+0100"}, True),
        ({START: "20261121040000+0000"}, False),
        ({START: "20261121025959+0000-20261121030001+0000"}, True),
        ({START: "20261120220000-0500-20261120230000-0500"}, True),
        ({START: "-20261121"}, True),
        ({START: "20261122-"}, False),
        ({START: "-"}, False),
        ({"ReferencedRequestSequence": {"StudyInstanceUID": "1.2.3"}}, True),
        ({"ReferencedRequestSequence": {"StudyInstanceUID": "1.2.3", "AccessionNumber": "B*"}}, False),
        ({"ReferencedRequestSequence": {"StudyInstanceUID": "", "AccessionNumber": ""}}, True),
        ({"ScheduledWorkitemCodeSequence": {"CodeValue": "1"}}, False),
        ({"ScheduledWorkitemCodeSequence": {"CodeValue": ""}}, True),
        ({"WorklistLabel": "TRIAGE"}, False),
    ],
)
def test_key_matches(keys, expected):
    assert matches(data(**keys), ITEM) is expected


def test_only_what_was_asked_for_is_returned_and_never_the_transaction_uid():
    keys = data(PatientID="P*", TransactionUID="", WorklistLabel="", ReferencedRequestSequence={"AccessionNumber": ""})
    found = returned(keys, ITEM)
    assert {e.keyword for e in found} == {
        "SpecificCharacterSet",
        "SOPInstanceUID",
        "PatientID",
        "WorklistLabel",
        "ReferencedRequestSequence",
    }
    assert [e.keyword for e in found.ReferencedRequestSequence[0]] == ["AccessionNumber"]


@given(st.text(max_size=40), st.text(alphabet="Aab*?[]!^-", max_size=20))
def test_no_text_and_no_pattern_breaks_matching(held, pattern):
    item = from_json({"00100020": {"vr": "LO", "Value": [held]}})
    keys = from_json({"00100020": {"vr": "LO", "Value": [pattern]}})
    assert matches(keys, item) in (True, False)
    assert matches(item, item)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
TAGS = st.sampled_from(["00741200", "00100010", "0040A370", "00081195", "00404005", "00740006", "00091001", "7FE00010"])
ELEMENTS = st.fixed_dictionaries(
    {"vr": st.sampled_from(["CS", "PN", "SQ", "UI", "DT", "DS", "OB", "UN", "US"])}, optional={"Value": JSON_VALUES}
)


@given(st.dictionaries(TAGS, ELEMENTS | JSON_VALUES, max_size=6) | JSON_VALUES)
def test_any_json_is_a_data_set_that_can_be_kept_or_is_refused(model):
    try:
        found = from_json(model)
    except BadDataSet:
        return
    kept = json.loads(json.dumps(to_json(found)))
    assert to_json(from_json(kept)) == kept


def test_data_set_of_a_peer_loses_what_nobody_here_reads():
    sent = data(PatientID="1", PatientName="A^B")
    sent.add_new(0x00091001, "LO", "private")
    sent.PixelData = b"\0" * 100
    sent["PixelData"].VR = "OB"
    sent.SpecificCharacterSet = "ISO_IR 100"
    assert {e.keyword for e in checked(sent)} == {"PatientID", "PatientName"}
