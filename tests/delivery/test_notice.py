"""What a notice says, and what of the patient it never says."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage_node.delivery.notice import notice
from triage_node.domain.priority import Flag, Urgency
from triage_node.domain.study import StudyIdentity

AT = datetime(2026, 11, 21, 14, 2, tzinfo=ZoneInfo("Europe/Berlin"))
FLAG = Flag("iph", Urgency.CRITICAL, "Suspected IPH, 34 mL, very likely", AT)
JANE = StudyIdentity("PID4711", "KRANKENHAUS", "DOE^JANE", "19500312", "F", "ACC0815")
LINK = "https://viewer.example/1.2.3"


def text(identifiers: str, identity: StudyIdentity = JANE, simulation: bool = False) -> str:
    said = notice(FLAG, identity, identifiers, LINK, AT, simulation)
    return f"{said.title}\n{said.body}"


def test_a_notice_says_what_was_found_how_urgent_when_and_where_to_look():
    assert text("none").split("\n") == [
        "Flagged study, critical",
        "Suspected IPH, 34 mL, very likely.",
        "Urgency: critical. Flagged 2026-11-21 14:02 CET.",
        LINK,
        "Not for diagnostic use.",
    ]


def test_a_simulated_study_says_so_in_title_and_text():
    assert text("none", simulation=True).count("SIMULATION") == 2


@pytest.mark.parametrize(
    ("identifiers", "told", "untold"),
    [
        ("none", [], ["PID4711", "ACC0815"]),
        ("accession", ["ACC0815"], ["PID4711"]),
        ("patient", ["ACC0815", "PID4711"], []),
    ],
)
def test_only_the_identifiers_that_the_site_allows_are_told_and_never_a_name(identifiers, told, untold):
    said = text(identifiers)
    assert all(word in said for word in told)
    assert not any(word in said for word in (*untold, "DOE", "JANE", "19500312", "KRANKENHAUS"))


@given(
    st.lists(
        st.text(st.characters(min_codepoint=0x400, max_codepoint=0x4FF), min_size=3, max_size=64),
        min_size=6,
        max_size=6,
    ),
    st.sampled_from(["none", "accession", "patient"]),
)
def test_no_letter_of_a_patient_gets_out_unless_it_is_allowed(words, identifiers):
    # the notice itself is written in ASCII, so any Cyrillic letter in it is the patient's
    patient_id, issuer, name, born, sex, accession = words
    said = text(identifiers, StudyIdentity(patient_id, issuer, name, born, sex, accession))
    allowed = {"none": "", "accession": accession, "patient": accession + patient_id}[identifiers]
    assert {c for c in said if ord(c) >= 0x400} <= set(allowed)


@pytest.mark.parametrize(
    "hostile", ["A1\r\nBcc: x@y.z", "A1\u2028Not true", "\u202eA1", "A1\x00\x1b[2J", "長" * 5000, ""]
)
def test_hostile_identifiers_stay_on_their_line_and_short(hostile):
    said = text("accession", StudyIdentity("P", "", "", "", "", hostile))
    assert len(said.splitlines()) in (5, 6)
    assert len(said) < 300
    assert all(c.isprintable() or c == "\n" for c in said)
