"""Data sets from others, taken in once: both transports end in the DICOM JSON model, checked here (PS3.18 F).

What passes has known VRs, checked UIDs, bounded depth and size, and can be written to the store and sent again.
"""

from __future__ import annotations

import math
import re
from typing import Any

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from triage_node.domain.identifiers import is_uid
from triage_node.domain.workitem import Json

DEPTH, ELEMENTS, CHARACTERS = 8, 4000, 10_240
_TAG = re.compile(r"[0-9A-Fa-f]{8}\Z")
_TEXT = frozenset("AE AS CS DA DT LO LT PN SH ST TM UC UR UT".split())
_NUMBERS = frozenset("DS FD FL IS SL SS SV UL US UV".split())
_CHARACTER_SET = 0x00080005


class BadDataSet(Exception):
    """Not what a data set of this service can be."""


def from_json(model: object) -> Dataset:
    """Raises: BadDataSet. Private elements, the character set and binary values are left out."""
    return _data_set(model, 0, [ELEMENTS])


def checked(data_set: Dataset) -> Dataset:
    """A data set that came over DIMSE; everything in it is decoded now. Raises: BadDataSet."""
    try:
        model = data_set.to_json_dict(bulk_data_threshold=1, bulk_data_element_handler=lambda _: "")
    except Exception as error:  # whatever damaged bytes make the library raise
        raise BadDataSet(type(error).__name__) from error
    return from_json(model)


def to_json(data_set: Dataset) -> Json:
    """The inverse of `from_json`."""
    return dict(data_set.to_json_dict())


def new_element(tag: int, vr: str, value: Any) -> DataElement:
    """An element whose value is not checked again: rows hold what scanners wrote, and that must be shown."""
    return DataElement(tag, vr, value, validation_mode=IGNORE)


def _data_set(model: object, depth: int, budget: list[int]) -> Dataset:
    if not isinstance(model, dict):
        raise BadDataSet("a data set is an object of tags")
    if depth > DEPTH:
        raise BadDataSet(f"sequences are nested more than {DEPTH} deep")
    found = Dataset()
    for name, element in model.items():
        budget[0] -= 1
        if budget[0] < 0:
            raise BadDataSet(f"more than {ELEMENTS} values")
        if not isinstance(name, str) or not _TAG.match(name) or not isinstance(element, dict):
            raise BadDataSet("a data set is an object of tags")
        tag = Tag(int(name, 16))
        if tag.is_private or tag == _CHARACTER_SET or tag.element == 0:
            continue
        taken = _element(tag, element, depth, budget)
        if taken is not None:
            found.add(taken)
    return found


def _element(tag: Any, element: dict[str, Any], depth: int, budget: list[int]) -> DataElement | None:
    vr, values = element.get("vr"), element.get("Value", [])
    if not isinstance(vr, str) or not isinstance(values, list):
        raise BadDataSet(f"{tag} has no VR, or a value that is no list")
    try:
        if vr not in str(dictionary_VR(tag)):
            raise BadDataSet(f"{tag} is no {vr}")
    except KeyError:
        return None  # not in the dictionary: nothing here uses it
    budget[0] -= len(values)
    if budget[0] < 0:
        raise BadDataSet(f"more than {ELEMENTS} values")
    if vr == "SQ":
        return DataElement(tag, "SQ", Sequence([_data_set(v or {}, depth + 1, budget) for v in values]))
    if vr == "UI":
        plain: list[Any] = [_uid(tag, v) for v in values if v not in (None, "")]
    elif vr in _TEXT:
        plain = [_text(tag, v) for v in values]
    elif vr in _NUMBERS:
        plain = [_number(tag, v) for v in values if v is not None]
    else:
        return None
    return new_element(tag, vr, plain[0] if len(plain) == 1 else plain or None)


def _uid(tag: Any, value: object) -> str:
    text = value.strip("\0 ") if isinstance(value, str) else ""
    if not is_uid(text):
        raise BadDataSet(f"{tag} holds what is no UID")
    return text


def _text(tag: Any, value: object) -> str:
    if isinstance(value, dict):  # a person's name, by character set group
        groups = [str(value.get(g) or "") for g in ("Alphabetic", "Ideographic", "Phonetic")]
        value = "=".join(groups).rstrip("=")
    text = "" if value is None else value
    if not isinstance(text, str) or len(text) > CHARACTERS:
        raise BadDataSet(f"{tag} holds what is no text, or too long a one")
    text = "".join(c for c in text if c >= " " or c in "\t\r\n\f")
    # a lone surrogate can be said in JSON, but neither stored nor sent
    return text.encode("utf-8", "replace").decode().strip("\0 ")


def _number(tag: Any, value: object) -> float | int | str:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > 24:
        raise BadDataSet(f"{tag} holds what is no number")
    try:
        number = float(value)
    except ValueError as error:
        raise BadDataSet(f"{tag} holds what is no number") from error
    if not math.isfinite(number):
        raise BadDataSet(f"{tag} holds what is no number")
    return value
