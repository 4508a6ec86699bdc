"""What people state of a patient: what is possible, what counts as known, and who said it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from triage_node.domain.clinical import ClinicalEntry, ClinicalRevision, digest, merged, problems
from triage_node.domain.prognosis import ClinicalFacts

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
SCANNED = NOW - timedelta(minutes=20)
HEADERS = ClinicalFacts(age_years=71, sources=(("age_years", "DICOM header"),))


def stated(entry: ClinicalEntry) -> ClinicalRevision:
    return ClinicalRevision("1.2.3", 1, NOW, "Dr. Lee", "form", "p", entry)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (ClinicalEntry(gcs=2), "GCS: 2 is not possible, it lies from 3 to 15."),
        (ClinicalEntry(gcs=16), "GCS: 16 is not possible, it lies from 3 to 15."),
        (ClinicalEntry(nihss=43), "NIHSS: 43 is not possible, it lies from 0 to 42."),
        (ClinicalEntry(nihss=-1), "NIHSS: -1 is not possible, it lies from 0 to 42."),
        (ClinicalEntry(gcs_eye=4, gcs_verbal=5), "GCS: give eye, verbal and motor, or the total alone."),
        (
            ClinicalEntry(gcs=9, gcs_eye=4, gcs_verbal=5, gcs_motor=6),
            "GCS: eye, verbal and motor add up to 15, not to 9.",
        ),
        (ClinicalEntry(on_warfarin=True, on_anticoagulant=False), "Warfarin is an anticoagulant: both cannot hold."),
        (ClinicalEntry(onset_at=NOW + timedelta(hours=1)), "Onset: it lies in the future."),
        (ClinicalEntry(onset_at=NOW - timedelta(minutes=5)), "Onset: it lies after the images were taken."),
        (ClinicalEntry(onset_at=NOW - timedelta(days=40)), "Onset: more than 30 days before the images."),
        (
            ClinicalEntry(onset_at=NOW - timedelta(hours=2), onset_unknown=True),
            "Onset: it is either not known or has a time.",
        ),
        (ClinicalEntry(age_years=17), "Age: the images say 71 years. Is it this patient?"),
        (
            ClinicalEntry(glucose_mg_dl=7.4),
            "glucose: 7.4 is not possible, it lies from 20 to 2000 mg/dL (1.1 to 111 mmol/L); is the unit right?",
        ),
        (
            ClinicalEntry(systolic_mmhg=1000),
            "systolic pressure: 1000 is not possible, it lies from 40 to 350 mmHg.",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_words(entry, words):
    assert problems(entry, NOW, SCANNED, 71) == (words,)


@pytest.mark.parametrize(
    "entry",
    [
        ClinicalEntry(),
        ClinicalEntry(gcs=3, nihss=42, glucose_mg_dl=20, systolic_mmhg=350, age_years=72),
        ClinicalEntry(gcs=15, gcs_eye=4, gcs_verbal=5, gcs_motor=6, nihss=0),
        ClinicalEntry(onset_at=SCANNED - timedelta(hours=2), on_warfarin=True, on_anticoagulant=True),
        ClinicalEntry(onset_unknown=True),
    ],
)
def test_what_can_be_is_taken(entry):
    assert problems(entry, NOW, SCANNED, 71) == ()


def test_facts_name_who_said_them_and_the_header_keeps_the_age():
    entry = ClinicalEntry(age_years=70, gcs_eye=3, gcs_verbal=4, gcs_motor=5, onset_at=SCANNED - timedelta(hours=2))
    facts = merged(HEADERS, stated(entry), SCANNED)
    assert (facts.age_years, facts.gcs, facts.onset_to_ct_h) == (71, 12, 2.0)
    assert dict(facts.sources) == {
        "age_years": "DICOM header",
        "gcs": "entered by Dr. Lee, 2026-11-21 03:00 UTC",
        "onset_to_ct_h": "entered by Dr. Lee, 2026-11-21 03:00 UTC",
    }


def test_nothing_is_filled_in():
    assert merged(HEADERS, None, SCANNED) == HEADERS
    facts = merged(HEADERS, stated(ClinicalEntry(onset_unknown=True)), SCANNED)
    assert facts == HEADERS
    # an onset without the time of the images says nothing of the hours between them
    assert merged(HEADERS, stated(ClinicalEntry(onset_at=SCANNED - timedelta(hours=2))), None).onset_to_ct_h is None


def test_warfarin_is_an_anticoagulant_and_none_is_not_no():
    facts = merged(HEADERS, stated(ClinicalEntry(on_warfarin=True)), SCANNED)
    assert (facts.on_warfarin, facts.on_anticoagulant, facts.on_antiplatelet) == (True, True, None)
    assert merged(HEADERS, stated(ClinicalEntry(on_warfarin=False)), SCANNED).on_anticoagulant is None


def test_the_digest_changes_with_a_fact_and_with_who_said_it_and_with_nothing_else():
    facts = merged(HEADERS, stated(ClinicalEntry(gcs=9)), SCANNED)
    assert digest(facts) == digest(replace(facts))
    others = {
        digest(f)
        for f in (HEADERS, facts, replace(facts, gcs=8), replace(facts, sources=(("gcs", "entered by Dr. Roe"),)))
    }
    assert len(others) == 4
