from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage_node.domain.priority import Urgency
from triage_node.worklist.adapter import RaiseMessage
from triage_node.worklist.payload import as_json, from_json

MESSAGE = RaiseMessage("2.25.1", "1.2.1", "A1", Urgency.HIGH, "Suspected ICH")
TEXT = st.text(max_size=64)


@given(TEXT, TEXT, st.sampled_from(list(Urgency)), st.none() | st.floats(0, 1), st.booleans())
def test_a_message_comes_back_as_it_was(name, words, urgency, probability, simulation):
    message = replace(
        MESSAGE,
        patient_name=name,
        words=words,
        urgency=urgency,
        probability=probability,
        simulation=simulation,
        issued_at=datetime(2026, 11, 21, 3, 0, 0, 5, tzinfo=UTC),
    )
    assert from_json(as_json(message)) == message


def test_a_message_of_another_version_loses_only_what_this_one_does_not_know():
    assert from_json(as_json(MESSAGE) | {"of a later version": [1]}) == MESSAGE


@pytest.mark.parametrize("change", [{"urgency": "very"}, {"issued_at": "yesterday"}])
def test_what_cannot_be_is_an_error(change):
    with pytest.raises(ValueError, match="urgency|yesterday|very|isoformat"):
        from_json(as_json(MESSAGE) | change)


def test_what_is_missing_is_an_error():
    with pytest.raises((KeyError, TypeError)):
        from_json({"urgency": "high"})
