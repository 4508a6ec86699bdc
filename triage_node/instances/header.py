"""Reads the attributes of an instance once, from values that were copied while it was received.

Values from outside become what a database and JSON can hold: text without control characters and of bounded length,
finite numbers, 32-bit integers. A value that does not parse counts as absent; whether that matters is for the rooms
behind to say.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

from pydicom.charset import convert_encodings, decode_bytes

from triage_node.domain.identifiers import is_uid
from triage_node.domain.instance import InstanceHeader

SPECIFIC_CHARACTER_SET = 0x00080005
SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E

_TEXT_CHARACTERS = 324  # PN: five components of 64 characters and their separators (PS3.5 6.2)
_DELIMITERS = set(b"^=\\\r\n\f\t")  # what ends a code extension (PS3.5 6.1.2.5.3)
_INT32 = 2**31
_US = struct.Struct("<H")


def uid_text(value: bytes) -> str:
    """The UID of a UI value, or empty when it is none. UIDs are padded with NUL, by some senders with a space."""
    text = value.rstrip(b"\0 ").lstrip(b" ").decode("ascii", "replace")
    return text if is_uid(text) else ""


def _decoder(values: Mapping[int, bytes]) -> Callable[[bytes], str]:
    names = [n.strip() for n in values.get(SPECIFIC_CHARACTER_SET, b"").decode("ascii", "replace").split("\\")]
    encodings: list[str] | None = None

    def decode(value: bytes) -> str:
        nonlocal encodings
        if value.isascii() and b"\x1b" not in value:
            text = value.decode("ascii")
        else:
            if encodings is None:
                encodings = _encodings(names)
            text = decode_bytes(value, encodings, _DELIMITERS)
        return text

    return decode


def _encodings(names: list[str]) -> list[str]:
    try:
        return list(convert_encodings(names))
    except (LookupError, ValueError):  # a character set that does not exist
        return ["iso8859"]


def _clean(text: str) -> str:
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " * c.isspace() for c in text)
    return text.strip()[:_TEXT_CHARACTERS]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _integer(text: str) -> int | None:
    value = _number(text)
    return int(value) if value is not None and value == int(value) and abs(value) < _INT32 else None


def _text(value: bytes, decode: Callable[[bytes], str]) -> str:
    return _clean(decode(value))


def _texts(value: bytes, decode: Callable[[bytes], str]) -> tuple[str, ...]:
    return tuple(_clean(part) for part in decode(value).split("\\")) if value.strip(b" \0") else ()


def _single_integer(value: bytes, _: Callable[[bytes], str]) -> int | None:
    return _integer(value.decode("ascii", "replace").strip(" \0"))


def _single_number(value: bytes, _: Callable[[bytes], str]) -> float | None:
    return _number(value.decode("ascii", "replace").strip(" \0"))


def _numbers(count: int) -> Callable[[bytes, Callable[[bytes], str]], tuple[float, ...] | None]:
    def read(value: bytes, _: Callable[[bytes], str]) -> tuple[float, ...] | None:
        parts = [_number(p.strip(" \0")) for p in value.decode("ascii", "replace").split("\\")]
        return tuple(p for p in parts if p is not None) if len(parts) == count and None not in parts else None

    return read


def _unsigned_short(value: bytes, _: Callable[[bytes], str]) -> int | None:
    return int(_US.unpack(value)[0]) if len(value) == 2 else None


_Reader = Callable[[bytes, Callable[[bytes], str]], Any]
# PS3.6: tag -> field of InstanceHeader, how its value is read
_FIELDS: dict[int, tuple[str, _Reader]] = {
    0x00080008: ("image_type", _texts),
    0x00080020: ("study_date", _text),
    0x00080022: ("acquisition_date", _text),
    0x00080030: ("study_time", _text),
    0x00080032: ("acquisition_time", _text),
    0x00080050: ("accession_number", _text),
    0x00080060: ("modality", _text),
    0x00080070: ("manufacturer", _text),
    0x00080201: ("timezone_offset_from_utc", _text),
    0x00081010: ("station_name", _text),
    0x00081030: ("study_description", _text),
    0x0008103E: ("series_description", _text),
    0x00081090: ("manufacturer_model_name", _text),
    0x00100010: ("patient_name", _text),
    0x00100020: ("patient_id", _text),
    0x00100021: ("issuer_of_patient_id", _text),
    0x00100030: ("patient_birth_date", _text),
    0x00100040: ("patient_sex", _text),
    0x00101010: ("patient_age", _text),
    0x00180010: ("contrast_bolus_agent", _text),
    0x00180015: ("body_part_examined", _text),
    0x00180050: ("slice_thickness_mm", _single_number),
    0x00180088: ("spacing_between_slices_mm", _single_number),
    0x00181020: ("software_versions", _texts),
    0x00181030: ("protocol_name", _text),
    0x00181120: ("gantry_detector_tilt_deg", _single_number),
    0x00181210: ("convolution_kernel", _texts),
    0x00200011: ("series_number", _single_integer),
    0x00200012: ("acquisition_number", _single_integer),
    0x00200013: ("instance_number", _single_integer),
    0x00200032: ("image_position_patient", _numbers(3)),
    0x00200037: ("image_orientation_patient", _numbers(6)),
    0x00201002: ("images_in_acquisition", _single_integer),
    0x00280002: ("samples_per_pixel", _unsigned_short),
    0x00280004: ("photometric_interpretation", _text),
    0x00280008: ("number_of_frames", _single_integer),
    0x00280010: ("rows", _unsigned_short),
    0x00280011: ("columns", _unsigned_short),
    0x00280030: ("pixel_spacing_mm", _numbers(2)),
    0x00280301: ("burned_in_annotation", _text),
}
ACQUISITION_DATE_TIME = 0x0008002A
_DT = re.compile(r"([0-9]{8})([0-9]{4}(?:[0-9]{2})?(?:\.[0-9]{1,6})?)?([+-][0-9]{4})?\Z")
FRAME_OF_REFERENCE_UID = 0x00200052

WANTED = frozenset(_FIELDS) | {
    SPECIFIC_CHARACTER_SET,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    SERIES_INSTANCE_UID,
    FRAME_OF_REFERENCE_UID,
    ACQUISITION_DATE_TIME,
}


def header_from(values: Mapping[int, bytes], transfer_syntax_uid: str) -> InstanceHeader:
    """Make the header of an instance whose four UIDs are known to be there (`Intake` checks them before the answer)."""
    decode = _decoder(values)
    fields: dict[str, Any] = {}
    for tag, value in values.items():
        if tag in _FIELDS:
            name, read = _FIELDS[tag]
            fields[name] = read(value, decode)
    if not fields.get("acquisition_date"):
        fields |= _acquired(_clean(values.get(ACQUISITION_DATE_TIME, b"").decode("ascii", "replace")))
    if (fields.get("number_of_frames") or 0) < 1:
        fields["number_of_frames"] = 1
    return InstanceHeader(
        sop_instance_uid=uid_text(values[SOP_INSTANCE_UID]),
        sop_class_uid=uid_text(values[SOP_CLASS_UID]),
        study_instance_uid=uid_text(values[STUDY_INSTANCE_UID]),
        series_instance_uid=uid_text(values[SERIES_INSTANCE_UID]),
        transfer_syntax_uid=transfer_syntax_uid,
        specific_character_set=_clean(values.get(SPECIFIC_CHARACTER_SET, b"").decode("ascii", "replace")),
        frame_of_reference_uid=uid_text(values.get(FRAME_OF_REFERENCE_UID, b"")),
        **fields,
    )


def _acquired(date_time: str) -> dict[str, str]:
    """What Enhanced CT says in one value (0008,002A), as the fields of other images; its own offset holds (PS3.5 6.2, DT)."""
    if (told := _DT.match(date_time)) is None:
        return {}
    date, time, offset = told.groups(default="")
    found = {"acquisition_date": date, "acquisition_time": time}
    return found | ({"timezone_offset_from_utc": offset} if offset else {})
