"""The lab's form and address as thresholds to try. What they say is checked here; whether it can be a policy, by the store."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from triage_node.console.lab_deps import LEAST, MOST, Basis, Question
from triage_node.domain.errors import StoreError
from triage_node.domain.finding import FINDINGS, OperatingPoint
from triage_node.domain.policy import MAIN, Scope

ACTIONS = ("unsure", "raise", "notify")
_LONGEST = 1200


@dataclass(frozen=True, slots=True)
class Assumed:
    """A number that stands beside the thresholds. `default` None: as measured."""

    name: str
    label: str
    unit: str
    low: float
    high: float
    default: float | None
    hint: str


ASSUMED = (
    Assumed("days", "Studies of the last", "days", 1, 365, 90, "at most the newest 2,000"),
    Assumed("readers", "Readers of this list", "people", 1, 50, 2, "at the same time"),
    Assumed("reading_min", "Reading takes", "minutes", 0.5, 120, None, "empty: as people told"),
    Assumed("other_per_hour", "Other studies on the list", "per hour", 0, 500, 0, "never flagged; they fill the queue"),
    Assumed("prevalence", "Bleeds among head CTs here", "percent", 0.1, 90, None, "empty: as truth says"),
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table: a threshold of one finding for one action. `default`, `in_force` None: there is none."""

    key: str
    finding: str
    label: str
    action: str
    unit: str
    low: float
    high: float
    default: float | None
    in_force: float | None
    value: float | None
    effect: str
    required: bool


_EFFECTS = {
    "unsure": 'From here up to "raise" the answer is "not sure": shown as such, moves nothing. Empty: there is no such answer.',
    "raise": "From here on a study is flagged and moves up the list. Lower finds more bleeds, and raises more false alarms.",
    "notify": "From here on a flag is high or critical and people are notified; a flag below it is moderate.",
}
_OF_ITS_OWN = {
    "unsure": "As above, by this kind of bleed alone.",
    "raise": "Flags a study by this kind of bleed alone, as soon as that output has the evidence that the action needs. Empty: it flags nothing by itself.",
    "notify": "Makes such a flag high or critical. Needed beside raise.",
}


def scope_of(text: str) -> Scope:
    """Raises: StoreError for what no select of ours holds."""
    pairs = text.split("&") if text else []
    told = dict(parse_qsl(text)) if len(text) <= _LONGEST and len(pairs) <= 3 else {}
    if told.keys() - {"scanner", "kernel", "ae_title"} or (text and not told):
        raise StoreError("There is no such scanner or sender.")
    return Scope(**told)


def scope_value(scope: Scope) -> str:
    parts = {"scanner": scope.scanner, "kernel": scope.kernel, "ae_title": scope.ae_title}
    return urlencode({name: text for name, text in parts.items() if text})


def question_of(told: Mapping[str, str], basis: Basis) -> Question:
    """What the form says; where it names no threshold, those that stand for the scope, else the site's.

    Raises: StoreError with a sentence for each thing that cannot be.
    """
    scope = scope_of(told.get("scope", ""))
    assumed = {a.name: _number(told.get(a.name, ""), a.label, a.low, a.high) for a in ASSUMED}
    if any(f"{MAIN}.{action}" in told for action in ACTIONS):
        points = dict(_points(told))
    else:
        points = basis.in_force.of_scope(scope) or dict(basis.in_force.points)
    prevalence = assumed["prevalence"]
    return Question(
        scope=scope,
        points=points,
        days=round(assumed["days"] or 90),
        readers=round(assumed["readers"] or 2),
        reading_min=assumed["reading_min"],
        other_per_hour=assumed["other_per_hour"] or 0.0,
        prevalence=None if prevalence is None else prevalence / 100,
    )


def settings(question: Question, basis: Basis) -> list[tuple[str, str, list[Setting]]]:
    """(finding, its name, rows): hemorrhage of any kind first, then each kind that the model scores by itself."""
    held = basis.in_force.of_scope(question.scope)
    found = []
    for finding in (MAIN, *(f for f in FINDINGS if f != MAIN and (f in basis.scored or f in question.points))):
        is_main = finding == MAIN
        rows = [
            Setting(
                key=f"{finding}.{action}",
                finding=finding,
                label=f"{FINDINGS[finding].short} {action}",
                action=action,
                unit="probability",
                low=LEAST,
                high=MOST,
                default=_of(basis.default.get(finding), action),
                in_force=_of(held.get(finding), action),
                value=_of(question.points.get(finding), action),
                effect=(_EFFECTS if is_main else _OF_ITS_OWN)[action],
                required=is_main and action != "unsure" and question.scope.is_whole_site,
            )
            for action in ACTIONS
        ]
        found.append((finding, FINDINGS[finding].name, rows))
    return found


def as_fields(question: Question) -> dict[str, str]:
    """The question as the form's fields, to be sent again."""
    fields = {"scope": scope_value(question.scope)}
    for finding, point in {**dict.fromkeys(FINDINGS), **question.points}.items():
        for action in ACTIONS:
            value = _of(point, action)
            if value is not None or finding == MAIN:
                fields[f"{finding}.{action}"] = "" if value is None else f"{value:g}"
    return fields


def _points(told: Mapping[str, str]) -> Iterable[tuple[str, OperatingPoint]]:
    for finding, kind in FINDINGS.items():
        unsure, raised, notified = (
            _number(told.get(f"{finding}.{action}", ""), f"{kind.short} {action}", LEAST, MOST) for action in ACTIONS
        )
        if raised is None and notified is None and unsure is None:
            continue
        if raised is None or notified is None:
            raise StoreError(f"{kind.short}: raise and notify are needed together.")
        if not (unsure or raised) <= raised <= notified:
            raise StoreError(f"{kind.short}: not sure, raise and notify follow one another, the smallest first.")
        yield finding, OperatingPoint(finding, raised, notified, 0, unsure)


def _number(text: str, label: str, low: float, high: float) -> float | None:
    """Empty: None. Raises: StoreError for what is no number of this range."""
    text = text.strip().replace(",", ".")
    if not text:
        return None
    try:
        value = float(text[:32])
    except ValueError:
        value = math.nan
    if not low <= value <= high:  # not a number is in no range
        raise StoreError(f"{label}: a number from {low:g} to {high:g}.")
    return value


def _of(point: OperatingPoint | None, action: str) -> float | None:
    if point is None:
        return None
    return {"unsure": point.unsure_from, "raise": point.raise_probability, "notify": point.notify_probability}[action]
