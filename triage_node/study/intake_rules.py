"""Which studies are in scope, of which order class, and old enough. The first rule whose patterns all match decides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from fnmatch import fnmatchcase

from triage_node.domain.instance import InstanceHeader
from triage_node.domain.priority import OrderClass

MAXIMUM_TEXT = 256
PLACEHOLDER_BIRTH_DATES = frozenset(
    {"19000101", "19010101", "18000101", "18581117", "18991230", "00010101", "11111111"}
)
"""What systems write when they know no date: zero days of their calendar, or the first one that a form takes."""
OLDEST_YEARS = 120
_AGE_UNITS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


@dataclass(frozen=True, slots=True)
class IntakeRule:
    """Shell patterns (*, ?), case-insensitive; what they lead to."""

    name: str
    calling_ae_title: str = "*"
    station_name: str = "*"
    study_description: str = "*"
    patient_id: str = "*"
    out_of_scope: bool = False
    order_class: OrderClass = OrderClass.ROUTINE
    live_within: timedelta = timedelta(hours=6)
    analyse_when_not_live: bool = True


DEFAULT_RULE = IntakeRule(name="default")


def first_match(rules: Iterable[IntakeRule], calling_ae_title: str, header: InstanceHeader) -> IntakeRule:
    """The first rule that matches, or DEFAULT_RULE."""
    for rule in rules:
        told = (
            (rule.calling_ae_title, calling_ae_title),
            (rule.station_name, header.station_name),
            (rule.study_description, header.study_description),
            (rule.patient_id, header.patient_id),
        )
        if all(_matches(pattern, text) for pattern, text in told):
            return rule
    return DEFAULT_RULE


def _matches(pattern: str, text: str) -> bool:
    """fnmatch's regular expressions do not backtrack into a star that has matched, so no text makes them slow."""
    return pattern == "*" or fnmatchcase(text.strip()[:MAXIMUM_TEXT].lower(), pattern.lower())


def too_young(header: InstanceHeader, minimum_age_years: int, arrived_on: date) -> str:
    """Why a patient is too young to be analysed; empty when old enough or when nobody knows the age."""
    age = age_years(header, arrived_on)
    if age is None or age >= minimum_age_years:
        return ""
    return f"patient is under {minimum_age_years} years old"


def age_years(header: InstanceHeader, arrived_on: date) -> int | None:
    """Completed years at the study, from birth date or Patient's Age (0010,1010); None when missing, a placeholder,
    implausible, or when the two contradict each other.
    """
    at = _date(header.study_date) or _date(header.acquisition_date) or arrived_on
    born, told = _date(header.patient_birth_date), _age_string(header.patient_age)
    years: float | None = None
    if born is not None and header.patient_birth_date.strip() not in PLACEHOLDER_BIRTH_DATES:
        years = at.year - born.year - ((at.month, at.day) < (born.month, born.day))
        if not 0 <= years <= OLDEST_YEARS:
            years = None
    if years is not None and told is not None and abs(years - told) > 2:
        return None
    known = years if years is not None else told
    return None if known is None else int(known)


def _date(text: str) -> date | None:
    digits = text.strip().replace(".", "")
    if len(digits) != 8 or not (digits.isascii() and digits.isdigit()):
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


def _age_string(text: str) -> float | None:
    """AS: three digits and D, W, M or Y (PS3.5 6.2). 000Y is what systems write that know no age."""
    text = text.strip().upper()
    if len(text) != 4 or not (text[:3].isascii() and text[:3].isdigit()) or text[3] not in _AGE_UNITS or text == "000Y":
        return None
    years = int(text[:3]) * _AGE_UNITS[text[3]]
    return years if years <= OLDEST_YEARS else None
