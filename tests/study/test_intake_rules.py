from __future__ import annotations

import time
from dataclasses import replace
from datetime import date, timedelta

import pytest

from tests.study.headers import HEAD
from triage_node.domain.priority import OrderClass
from triage_node.study.intake_rules import DEFAULT_RULE, IntakeRule, age_years, first_match, too_young

TODAY = date(2026, 1, 5)


def test_first_rule_whose_patterns_all_match_decides() -> None:
    rules = (
        IntakeRule("qa phantoms", patient_id="QA*", out_of_scope=True),
        IntakeRule("trauma room", calling_ae_title="CT_ER*", study_description="*head*", order_class=OrderClass.STAT),
        IntakeRule("emergency", calling_ae_title="CT_ER*", order_class=OrderClass.URGENT),
        IntakeRule("research scanner", station_name="RES?", live_within=timedelta(hours=1)),
    )
    assert first_match(rules, "CT_ER1", replace(HEAD, patient_id="qa-0815")).out_of_scope
    assert first_match(rules, "ct_er1", HEAD).order_class is OrderClass.STAT
    assert first_match(rules, "CT_ER1", replace(HEAD, study_description="CT NECK")).order_class is OrderClass.URGENT
    assert first_match(rules, "CT7", replace(HEAD, station_name="RES3")).name == "research scanner"
    assert first_match(rules, "CT7", replace(HEAD, station_name="RES33")) is DEFAULT_RULE
    assert first_match((), "CT7", HEAD) is DEFAULT_RULE


def test_pattern_does_not_match_an_empty_value_unless_it_is_a_star() -> None:
    empty = replace(HEAD, station_name="")
    assert first_match((IntakeRule("any", station_name="?*"),), "X", empty) is DEFAULT_RULE
    assert first_match((IntakeRule("all"),), "X", empty).name == "all"


def test_hostile_pattern_and_text_do_not_hang() -> None:
    rule = IntakeRule("stars", study_description="*a" * 60 + "*b", patient_id="[!" + "*" * 60)
    began = time.process_time()
    first_match((rule,), "X", replace(HEAD, study_description="a" * 1_000_000, patient_id="a" * 1_000_000))
    assert time.process_time() - began < 5.0


@pytest.mark.parametrize(
    ("birth", "age", "expected"),
    [
        ("20100106", "", 15),
        ("20080105", "", 18),
        ("20080106", "", 17),
        ("1950.03.02", "", 75),
        ("", "045Y", 45),
        ("", "006M", 0),
        ("", "010D", 0),
        ("", "000Y", None),
        ("", "", None),
        ("19000101", "", None),
        ("19000101", "061Y", 61),
        ("20270101", "", None),
        ("17770101", "", None),
        ("19600101", "012Y", None),
        ("19600101", "066Y", 66),
        ("1960", "", None),
        ("19601399", "", None),
        ("\u0661\u0662\u0663\u0664\u0661\u0662\u0661\u0662", "\u0661\u0662\u0663Y", None),
        ("", "999Y", None),
    ],
)
def test_age_is_told_only_when_it_is_known(birth: str, age: str, expected: int | None) -> None:
    header = replace(HEAD, patient_birth_date=birth, patient_age=age, study_date="20260105", acquisition_date="")
    assert age_years(header, date(2031, 1, 1)) == expected


def test_under_age_is_declined_and_unknown_age_is_not() -> None:
    child = replace(HEAD, patient_birth_date="20150101", study_date="20260105")
    assert too_young(child, 18, TODAY) == "patient is under 18 years old"
    assert too_young(child, 0, TODAY) == ""
    assert too_young(replace(child, patient_birth_date="20080105"), 18, TODAY) == ""
    assert too_young(replace(child, patient_birth_date=""), 18, TODAY) == ""
    assert too_young(replace(child, patient_birth_date="19000101"), 18, TODAY) == ""
    assert too_young(replace(child, patient_birth_date="", patient_age="011Y"), 18, TODAY) != ""


def test_study_without_a_date_takes_the_day_of_arrival() -> None:
    header = replace(HEAD, patient_birth_date="20080105", study_date="", acquisition_date="")
    assert age_years(header, TODAY) == 18
    assert age_years(header, date(2026, 1, 4)) == 17
