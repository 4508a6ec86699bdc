from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage_node.domain.study import IdentityCorrection, StudyIdentity
from triage_node.study.identity import IdentityMove, OtherPixels, Same, corrected, judge_repeat, two_patients

DOE = StudyIdentity("4711", "", "DOE^JANE", "19600102", "F", "A100")
PIXELS, OTHERS = "aa" * 32, "bb" * 32


def test_equal_pixels_and_equal_identity_is_the_same() -> None:
    assert judge_repeat(DOE, PIXELS, DOE, PIXELS, may_correct_identity=False) == Same()


@pytest.mark.parametrize("name", ["Doe^Jane", "DOE^JANE^^^", " DOE^JANE ", "DOE ^ JANE", "DOE^JANE=ドウ^ジェーン"])
def test_another_spelling_of_the_name_is_the_same(name: str) -> None:
    assert judge_repeat(DOE, PIXELS, replace(DOE, patient_name=name), PIXELS, may_correct_identity=False) == Same()


@pytest.mark.parametrize(
    "field",
    ["patient_id", "issuer_of_patient_id", "patient_name", "patient_birth_date", "patient_sex", "accession_number"],
)
def test_other_identity_is_applied_only_from_whom_may_correct_it(field: str) -> None:
    moved = replace(DOE, **{field: "OTHER"})
    conflict = judge_repeat(DOE, PIXELS, moved, PIXELS, may_correct_identity=False)
    assert conflict == IdentityMove(False, (field,))
    assert conflict.words == f"identity conflict: {field.replace('_', ' ')}"
    assert judge_repeat(DOE, PIXELS, moved, PIXELS, may_correct_identity=True) == IdentityMove(True, (field,))


def test_words_of_a_move_hold_no_values() -> None:
    move = judge_repeat(DOE, PIXELS, replace(DOE, patient_name="ROE^RICHARD", patient_id="1"), PIXELS, True)
    assert isinstance(move, IdentityMove)
    assert move.words == "identity corrected: patient id, patient name"


@pytest.mark.parametrize(("first", "second"), [(PIXELS, OTHERS), ("", ""), (PIXELS, ""), ("", PIXELS)])
def test_other_or_unknown_pixels_are_quarantined_whoever_sends_them(first: str, second: str) -> None:
    assert isinstance(judge_repeat(DOE, first, DOE, second, may_correct_identity=True), OtherPixels)


@pytest.mark.parametrize(
    ("other", "two"),
    [
        (DOE, False),
        (replace(DOE, patient_name="DOE^JANE^MARY"), False),
        (replace(DOE, accession_number="A200"), False),
        (replace(DOE, patient_id=""), False),
        (replace(DOE, patient_id="4712"), True),
        (replace(DOE, patient_id="4712", issuer_of_patient_id="MPI"), True),
        (replace(DOE, patient_id="", patient_name="ROE^RICHARD", patient_birth_date="19800101"), True),
        (replace(DOE, patient_id="", patient_name="ROE^RICHARD"), False),
    ],
)
def test_two_patients_under_one_study(other: StudyIdentity, two: bool) -> None:
    assert bool(two_patients([DOE, DOE, other])) is two
    assert bool(two_patients([other, DOE])) is two


def test_numbers_of_two_issuers_are_not_compared() -> None:
    here, there = replace(DOE, issuer_of_patient_id="A"), replace(DOE, patient_id="99", issuer_of_patient_id="B")
    assert two_patients([here, there]) == ""
    stranger = replace(there, patient_name="ROE^RICHARD", patient_birth_date="19800101")
    assert two_patients([here, stranger]) == "two patients under one Study Instance UID"


@given(st.lists(st.builds(StudyIdentity, *[st.text(max_size=12)] * 6), max_size=6))
def test_any_text_is_judged_and_order_does_not_matter(identities: list[StudyIdentity]) -> None:
    assert two_patients(identities) == two_patients(reversed(identities))


def test_thousands_of_identities_are_refused_quickly() -> None:
    crowd = [replace(DOE, patient_name=f"DOE^{i}") for i in range(5000)]
    assert two_patients(crowd) == "many identities under one Study Instance UID"


def correction(old: StudyIdentity, **changed: str) -> IdentityCorrection:
    return IdentityCorrection(datetime(2026, 11, 21, tzinfo=UTC), "HIS", old, replace(old, **changed))


def test_what_a_header_says_is_read_as_it_was_corrected_since_and_nothing_else_is_touched() -> None:
    merge = correction(DOE, patient_id="P99")
    name = correction(merge.new, patient_name="ROE^JANE")
    spelled = replace(DOE, patient_name="doe^jane^^^", accession_number="A7")
    assert corrected(spelled, [merge, name]) == replace(spelled, patient_id="P99", patient_name="ROE^JANE")
    assert corrected(name.new, [merge, name]) == name.new
    stranger = replace(DOE, patient_id="OTHER")
    assert corrected(stranger, [merge]) == stranger
    assert corrected(DOE, [merge, correction(merge.new, patient_id=DOE.patient_id)]) == DOE
    assert corrected(DOE, []) == DOE
