"""Matching of C-FIND keys, and what is returned. Source: PS3.4 C.2.2.2, CC.2.8."""

from __future__ import annotations

import fnmatch
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from triage_node.workitems.plain import new_element

_TRANSACTION_UID = 0x00081195
_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00080016, 0x00080018
_NO_KEYS = frozenset({0x00080005, 0x00080201})  # character set, offset from UTC: how to read the others
_RANGED = frozenset({"DA", "DT", "TM"})
_OFFSET = re.compile(r"(.+)([+-])(\d\d)(\d\d)\Z")
_RANGE = re.compile(r"(?P<low>\d[\d.]*(?:[+-]\d{4})?)?-(?P<high>\d[\d.]*(?:[+-]\d{4})?)?\Z")
_WITH_OFFSET = re.compile(r"\d{9,14}(?:\.\d+)?[+-]\d{4}\Z")  # one instant west of Greenwich, not a range of two
_DIGITS = 20


def matches(keys: Dataset, item: Dataset) -> bool:
    """True when every key that has a value matches (PS3.4 C.2.2.2.1 to 6)."""
    return all(_element_matches(key, item) for key in keys if key.tag not in _NO_KEYS)


def returned(keys: Dataset, item: Dataset) -> Dataset:
    """What was asked for, and what names the instance. The Transaction UID is nobody's business but its owner's."""
    answer = _returned(keys, item)
    for tag in (_SOP_CLASS_UID, _SOP_INSTANCE_UID):
        if tag in item:
            answer.add(item[tag])
    answer.SpecificCharacterSet = "ISO_IR 192"
    return answer


def _returned(keys: Dataset, item: Dataset) -> Dataset:
    answer = Dataset()
    for key in keys:
        if key.tag == _TRANSACTION_UID or key.tag in _NO_KEYS:
            continue
        held = item.get(key.tag)
        if held is None:
            answer.add(new_element(key.tag, key.VR, Sequence() if key.VR == "SQ" else None))
        elif key.VR == "SQ" and key.value and len(key.value[0]):
            answer.add(new_element(key.tag, "SQ", Sequence([_returned(key.value[0], part) for part in held.value])))
        else:
            answer.add(held)
    return answer


def _element_matches(key: Any, item: Dataset) -> bool:
    held = item.get(key.tag)
    if key.VR == "SQ":
        if not key.value or not _asks(key.value[0]):
            return True
        return held is not None and any(matches(key.value[0], part) for part in held.value)
    wanted = [v for v in _values(key) if v]
    if not wanted:
        return True
    values = _values(held) if held is not None else []
    if key.VR == "UI":
        return any(v in wanted for v in values)
    if key.VR in _RANGED:
        return any(_in_range(w, v) for w in wanted for v in values if v)
    return any(_text_matches(w, v, key.VR == "PN") for w in wanted for v in values or [""])


def _asks(keys: Dataset) -> bool:
    """False when no key in it has a value: such a sequence only names what to return."""
    return any((k.value and _asks(k.value[0])) if k.VR == "SQ" else any(_values(k)) for k in keys)


def _values(element: Any) -> list[str]:
    value = element.value
    if value is None:
        return []
    return [str(v) for v in value] if isinstance(value, list | tuple) or _is_multiple(value) else [str(value)]


def _is_multiple(value: object) -> bool:
    return not isinstance(value, str | bytes) and hasattr(value, "__iter__") and not hasattr(value, "components")


def _text_matches(wanted: str, held: str, is_name: bool) -> bool:
    if is_name:
        wanted, held = wanted.casefold().rstrip("^="), held.casefold().rstrip("^=")
    if "*" not in wanted and "?" not in wanted:
        return wanted == held
    if len(wanted) > 128:
        return False
    wanted = re.sub(r"\*+", "*", wanted).replace("[", "[[]")  # only * and ? are special in DICOM
    return fnmatch.fnmatchcase(held, wanted)


def _in_range(wanted: str, held: str) -> bool:
    found = None if _WITH_OFFSET.match(wanted) else _RANGE.match(wanted)
    if found is None:
        low = high = wanted
    else:
        low, high = found["low"] or "", found["high"] or ""
        if not low and not high:
            return False
    instant = _digits(held, "0")
    return (not low or _digits(low, "0") <= instant) and (not high or instant <= _digits(high, "9"))


def _digits(text: str, fill: str) -> str:
    """A date or time as digits that sort; what is left out is filled. Instants with an offset are moved to UTC."""
    offset = _OFFSET.fullmatch(text)
    if offset:
        text = offset[1]
    digits = re.sub(r"\D", "", text)[:_DIGITS].ljust(_DIGITS, fill)
    if not offset or len(re.sub(r"\D", "", text)) < 10:
        return digits
    shift = timedelta(hours=int(offset[3]), minutes=int(offset[4])) * (1 if offset[2] == "+" else -1)
    try:
        at = (
            datetime.strptime(digits[:10] + digits[10:12].replace("99", "59"), "%Y%m%d%H%M").replace(tzinfo=UTC) - shift
        )
    except (ValueError, OverflowError):
        return digits
    return f"{at:%Y%m%d%H%M}" + digits[12:]
