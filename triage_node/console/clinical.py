"""Clinical facts as they come in, over REST and from the form, and as the study page shows them.

Both ways end in the same model; what it refuses is said in words and never repeats the input. What a patient cannot have is
refused by `domain.clinical.problems`, where the node takes the statement in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime, tzinfo
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

from fastapi import HTTPException, Request
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from triage_node.console.texts import displayable
from triage_node.domain.clinical import MG_DL_PER_MMOL_L, NAMES, ClinicalEntry, ClinicalRevision
from triage_node.domain.errors import StatementRefused

LARGEST_BODY = 16_384
YES_NO = (
    "trauma",
    "after_surgery",
    "on_anticoagulant",
    "on_warfarin",
    "on_antiplatelet",
    "recurrent_ich",
    "cognitive_impairment_before",
)
NUMBERS = ("age_years", "gcs", "gcs_eye", "gcs_verbal", "gcs_motor", "nihss", "systolic_mmhg")
_OTHER_NAMES = {"entered_by": "your name", "seen_revision": "revision", "glucose": "glucose", "value": "glucose"}


def _name(text: str) -> str:
    shown = displayable(text)
    if not shown:
        raise ValueError("say who you are")
    return shown


class Glucose(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    value: float
    unit: Literal["mg/dL", "mmol/L"]

    @property
    def mg_dl(self) -> float:
        return round(self.value * MG_DL_PER_MMOL_L, 1) if self.unit == "mmol/L" else self.value


class Statement(BaseModel):
    """The body of POST /api/studies/{uid}/clinical. A field left out is not known; nothing is kept from the last statement."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    entered_by: Annotated[str, Field(max_length=64), AfterValidator(_name)]
    seen_revision: int = Field(ge=0, le=100_000)
    age_years: int | None = None
    gcs: int | None = None
    gcs_eye: int | None = None
    gcs_verbal: int | None = None
    gcs_motor: int | None = None
    nihss: int | None = None
    onset_at: AwareDatetime | None = None
    onset_unknown: bool = False
    glucose: Glucose | None = None
    systolic_mmhg: int | None = None
    on_anticoagulant: bool | None = None
    on_warfarin: bool | None = None
    on_antiplatelet: bool | None = None
    recurrent_ich: bool | None = None
    cognitive_impairment_before: bool | None = None
    after_surgery: bool | None = None
    trauma: bool | None = None

    def entry(self) -> ClinicalEntry:
        known = {f.name: getattr(self, f.name) for f in fields(ClinicalEntry) if hasattr(self, f.name)}
        return ClinicalEntry(**known, glucose_mg_dl=self.glucose.mg_dl if self.glucose else None)


async def limited_body(request: Request) -> bytes:
    """At most LARGEST_BODY bytes. Raises: HTTPException 413."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > LARGEST_BODY:
            raise HTTPException(413, "That is more than is taken here.")
    return bytes(data)


def from_json(body: bytes) -> Statement:
    """Raises: StatementRefused."""
    try:
        return Statement.model_validate_json(body)
    except ValidationError as error:
        raise StatementRefused(*_words(error)) from error


def from_form(body: bytes, zone: tzinfo) -> tuple[Statement | None, dict[str, str], tuple[str, ...]]:
    """(statement or None, the fields as they were typed, what is wrong). Onset is wall clock at the site."""
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=64)
    except ValueError:
        return None, {}, ("The form cannot be read.",)
    typed = {name: value.strip()[:200] for name, value in pairs}
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for name, text in typed.items():
        if not text or name == "glucose_unit":
            continue
        if name in YES_NO or name == "onset_unknown":
            values[name] = {"yes": True, "no": False}.get(text, text)
        elif name in (*NUMBERS, "seen_revision"):
            values[name] = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text
        elif name == "glucose":
            values[name] = {"value": _decimal(text), "unit": typed.get("glucose_unit", "")}
        elif name == "onset_at":
            try:
                values[name] = _local(text, zone)
            except (ValueError, OverflowError):
                wrong.append("Onset: date and time are not understood.")
        else:
            values[name] = text
    try:
        statement = Statement.model_validate(values)
    except ValidationError as error:
        return None, typed, (*wrong, *_words(error))
    return (None if wrong else statement), typed, tuple(wrong)


@dataclass(frozen=True, slots=True)
class Shown:
    """One statement on the page: who, when, what in words, and whether it is about this study's patient."""

    revision: int
    at: datetime
    by: str
    via: str
    applies: bool
    facts: tuple[tuple[str, str], ...]


def shown(statements: Iterable[tuple[ClinicalRevision, bool]], zone: tzinfo) -> tuple[Shown, ...]:
    """Newest first."""
    made = [Shown(s.revision, s.at, displayable(s.by), s.via, a, _facts(s.entry, zone)) for s, a in statements]
    return tuple(reversed(made))


def prefilled(statements: Iterable[tuple[ClinicalRevision, bool]], zone: tzinfo) -> dict[str, str]:
    """The form's fields as the last statement about this patient left them; empty when there is none."""
    last = next((s for s, applies in reversed(tuple(statements)) if applies), None)
    if last is None:
        return {}
    entry = last.entry
    typed = {n: str(v) for n in NUMBERS if (v := getattr(entry, n)) is not None}
    typed |= {n: "yes" if v else "no" for n in YES_NO if (v := getattr(entry, n)) is not None}
    if entry.glucose_mg_dl is not None:
        typed |= {"glucose": f"{entry.glucose_mg_dl:g}", "glucose_unit": "mg/dL"}
    if entry.onset_at is not None:
        typed["onset_at"] = entry.onset_at.astimezone(zone).strftime("%Y-%m-%dT%H:%M")
    if entry.onset_unknown:
        typed["onset_unknown"] = "yes"
    return typed


def as_json(statements: Iterable[tuple[ClinicalRevision, bool]]) -> dict[str, Any]:
    """What GET answers: the statement in force and every statement, oldest first. Units as in the field names."""
    history = [
        {
            "revision": s.revision,
            "at": s.at.isoformat(),
            "entered_by": displayable(s.by),
            "via": s.via,
            "applies": applies,
            "facts": _known(s.entry),
        }
        for s, applies in statements
    ]
    last = history[-1] if history else None
    return {
        "revision": last["revision"] if last else 0,
        "facts": last["facts"] if last and last["applies"] else {},
        "history": history,
    }


def _known(entry: ClinicalEntry) -> dict[str, Any]:
    values: dict[str, Any] = {f.name: getattr(entry, f.name) for f in fields(entry)}
    known = {name: v for name, v in values.items() if v is not None and (name != "onset_unknown" or v)}
    if entry.onset_at is not None:
        known["onset_at"] = entry.onset_at.isoformat()
    return known


def _facts(entry: ClinicalEntry, zone: tzinfo) -> tuple[tuple[str, str], ...]:
    out: list[tuple[str, str]] = []
    for name, words in NAMES.items():
        value = getattr(entry, name)
        if value is None or (name == "onset_unknown" and not value):
            continue
        if isinstance(value, bool):
            text = "yes" if value else "no"
        elif isinstance(value, datetime):
            text = value.astimezone(zone).strftime("%d %b %Y %H:%M")
        elif name == "glucose_mg_dl":
            text = f"{value:g} mg/dL ({value / MG_DL_PER_MMOL_L:.1f} mmol/L)"
        else:
            text = f"{value:g}" + {"systolic_mmhg": " mmHg", "age_years": " years"}.get(name, "")
        out.append((words, text))
    return tuple(out)


def _words(error: ValidationError) -> list[str]:
    """What is wrong, without the input: a value that somebody sent may be anything."""
    out: dict[str, None] = {}
    for one in error.errors(include_input=False, include_url=False, include_context=False):
        field = str(one["loc"][0]) if one["loc"] else ""
        name = NAMES.get(field) or _OTHER_NAMES.get(field)
        if one["type"] == "extra_forbidden" or name is None:
            words = "The statement has a field that is not known." if one["loc"] else "The statement cannot be read."
        elif one["type"] == "missing":
            words = f"{name}: it is missing."
        elif field == "glucose" and one["loc"][-1] == "unit":
            words = "glucose: the unit is mg/dL or mmol/L."
        else:
            words = f"{name}: {_MEANING.get(one['type'].partition('_')[0], 'it is not understood')}."
        out[words[:1].upper() + words[1:]] = None
    return list(out)[:12]


_MEANING = {
    "int": "a whole number is wanted",
    "float": "a number is wanted",
    "finite": "a number is wanted",
    "bool": "yes, no or nothing",
    "timezone": "a time with its zone is wanted",
    "datetime": "a time is wanted",
    "string": "at most 64 characters",
    "value": "it is missing",
}


def _decimal(text: str) -> float | str:
    """A decimal comma is a decimal point at half the hospitals of the world."""
    plain = text.replace(",", ".")
    digits = plain.replace(".", "", 1)
    return float(plain) if digits.isascii() and digits.isdigit() and len(digits) < 10 else text


def _local(text: str, zone: tzinfo) -> datetime:
    """In the hour that the clock repeats in autumn the earlier reading is taken: longer since onset, never shorter."""
    at = datetime.fromisoformat(text)
    at = at if at.tzinfo is not None else at.replace(tzinfo=zone, fold=0)
    at.utctimetuple()
    return at
