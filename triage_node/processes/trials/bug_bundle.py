"""What developers need to look into one study, without what names a person: a zip of JSON, made from the store alone.

DESIGN. Nothing goes in because it looks harmless: each value is a number within bounds, a truth value, a UID under another one,
or a word out of a fixed list. Any other text becomes a token, a keyed hash whose key is thrown away: equal texts have equal
tokens, and nobody can try names against it (PS3.15 E.1.1: everything that is not listed is removed). Instants are seconds since
the study's first byte. There are no pixels, and no clinical facts.
"""

from __future__ import annotations

import builtins
import hashlib
import hmac
import io
import json
import math
import platform
import re
import secrets
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydicom.uid import UID

from triage_node import __version__
from triage_node.config.schema import Settings
from triage_node.domain import errors
from triage_node.domain.errors import RefusedAction
from triage_node.domain.finding import FINDINGS, EvidenceLevel, Location
from triage_node.domain.instance import InstanceHeader, ReceivedInstance
from triage_node.domain.study import Moment
from triage_node.processes.trials.stored import as_stored
from triage_node.store import instances, messages, outbox, policy, results, studies
from triage_node.store.engine import Store
from triage_node.study.vocabulary import (
    kernel_kind,
    says_bone,
    says_contrast,
    says_dose_page,
    says_head,
    says_localizer,
    says_other_body_part,
)

Json = dict[str, Any]

_LARGEST_NUMBER = 20_000
"""Rows, positions in mm and series numbers stay below; a date or a patient's number written into a number does not."""
_WORDS = frozenset(
    "ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER MPR AVERAGE MAXIMUM CT_SOM5 SPI SPIRAL HELIX VOLUME RECON REFORMATTED "
    "CT MR CR DX SR SEG OT PR KO SC HEAD BRAIN SKULL NECK CHEST SPINE ABDOMEN PELVIS YES NO MONOCHROME1 MONOCHROME2 RGB "
    "PALETTE YBR_FULL YBR_FULL_422 YBR_ICT YBR_RCT STANDARD SOFT BONE BONEPLUS LUNG DETAIL EDGE UA UB UC YA YB YC YD".split()
)
_SIEMENS_KERNEL = re.compile(r"[BHJ][frsv]?[1-8][0-9][fhms]?\Z")
_MAKERS = (
    "GE MEDICAL",
    "SIEMENS",
    "PHILIPS",
    "TOSHIBA",
    "CANON",
    "NEUROLOGICA",
    "HITACHI",
    "FUJIFILM",
    "UNITED IMAGING",
)
_CHARACTER_SET = re.compile(r"(ISO_IR [0-9]{1,3}|ISO 2022 IR [0-9]{1,3}|GB18030|GBK)?\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_OUR_WORDS = frozenset({*FINDINGS, *EvidenceLevel, *Location, "raised", "not sure", "not raised"})
_FAILURES = frozenset(name for place in (builtins, errors) for name in vars(place) if name[:1].isupper())
_SAYS: Mapping[str, Callable[..., bool]] = {
    "bone": says_bone,
    "contrast": says_contrast,
    "dose page": says_dose_page,
    "head": says_head,
    "localizer": says_localizer,
    "other body part": says_other_body_part,
}
_README = """One study of a Triage Node without what names a person. Made from an allow-list; see bug_bundle.py.

node.json       versions, configuration: numbers, switches and words of the program only
study.json      states, timeline in seconds since the first byte, deliveries without names of peers
decisions.json  every result, thresholds then
headers.json    one entry an image: geometry, and words out of fixed lists; "~" begins a token for any other text
"""


def bug_bundle(store: Store, settings: Settings, study_instance_uid: str) -> bytes:
    """The zip. Raises: RefusedAction when there is no such study."""
    study = studies.get(store, study_instance_uid)
    if study is None:
        raise RefusedAction("There is no such study.")
    told = _Told(secrets.token_bytes(32), study.arrived_at)
    held = instances.of_study(store, study_instance_uid)
    record = results.latest(store, study_instance_uid)
    files = {
        "node.json": {
            "version": __version__,
            "python": platform.python_version(),
            "configuration": _configuration(settings),
        },
        "study.json": {
            "study": told.uid(study_instance_uid),
            "state": study.state.value,
            "reason": told.failure(study.reason),
            "tries": study.tries,
            "instances": study.instances,
            "incomplete": study.incomplete,
            "revision": study.revision,
            "selection": _selection(told, study),
            "timeline": [
                {"at_s": told.seconds(e.at), "moment": e.moment}
                for e in studies.timeline_of(store, study_instance_uid)
                if e.moment in set(Moment)
            ],
            "deliveries": [
                {"peer": told.token(row.peer), "kind": row.kind.value, "state": row.state.value, "tries": row.tries}
                for row in outbox.of_study(store, study_instance_uid)
            ],
            "messages": [
                {"peer": told.token(m.peer), "kind": m.kind.value, "state": m.state.value, "tries": m.tries}
                for m in messages.of_study(store, study_instance_uid)
            ],
        },
        "decisions.json": {
            "result": _decision(told, record) if record is not None else None,
            "thresholds": [
                {
                    "version": p.version,
                    "points": {
                        f: [o.unsure_from, o.raise_probability, o.notify_probability] for f, o in p.points.items()
                    },
                    "scoped": len(p.scoped),
                }
                for p in policy.versions(store)
            ],
        },
        "headers.json": [_header(told, i) for i in held if i.header is not None],
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        # ZipInfo begins in 1980: not even the hour of the download is told
        made.writestr(zipfile.ZipInfo("README.txt"), _README)
        for name, content in files.items():
            made.writestr(zipfile.ZipInfo(name), json.dumps(content, indent=1, allow_nan=False), zipfile.ZIP_DEFLATED)
    return out.getvalue()


@dataclass(frozen=True, slots=True)
class _Told:
    """How a value may be told. `key` lives as long as one bundle is made."""

    key: bytes
    began: datetime

    def seconds(self, at: datetime) -> float:
        return round((at - self.began).total_seconds(), 3)

    def uid(self, value: str) -> str:
        """A UID that DICOM itself defines as it is, any other under a new one (PS3.15 E.1, action U)."""
        if not value or UID(value, validation_mode=0).name != value:
            return value
        return f"2.25.{int.from_bytes(self._hash(value)[:16], 'big')}"

    def token(self, value: str) -> str:
        return f"~{self._hash(value).hex()[:12]}" if value else ""

    def word(self, value: str) -> str:
        """A word out of the lists, else its token."""
        known = value in _WORDS or value in _OUR_WORDS or _SIEMENS_KERNEL.match(value)
        return value if known else self.token(value)

    def words(self, values: Iterable[str]) -> list[str]:
        return [self.word(v) for v in values]

    def maker(self, value: str) -> str:
        known = next((m for m in _MAKERS if m in value.upper()), None)
        return known if known is not None else self.token(value)

    def character_set(self, value: str) -> list[str]:
        return [part if _CHARACTER_SET.match(part) else self.token(part) for part in value.split("\\")]

    def failure(self, reason: str) -> str:
        """The kind of an error of a program, else the token of the reason: sentences may quote headers."""
        kind = reason.partition(":")[0]
        return kind if kind in _FAILURES else self.token(reason)

    def number(self, value: float | None) -> float | None:
        small = value is not None and math.isfinite(value) and abs(value) < _LARGEST_NUMBER
        return round(value, 4) if small and value is not None else None

    def numbers(self, values: Iterable[float] | None) -> list[float | None] | None:
        return None if values is None else [self.number(v) for v in values]

    def digest(self, value: str) -> str:
        """Of a model or a configuration, never of pixels or of a patient."""
        return value if _DIGEST.match(value) else self.token(value)

    def _hash(self, value: str) -> bytes:
        return hmac.digest(self.key, value.encode(), hashlib.sha256)


def _header(told: _Told, received: ReceivedInstance) -> Json:
    h = received.header
    assert h is not None
    descriptions = (h.series_description, h.protocol_name, h.study_description)
    return {
        "received_s": told.seconds(received.received_at),
        "bytes": received.size_bytes,
        **{name: told.uid(getattr(h, name)) for name in _UIDS},
        **{name: told.number(getattr(h, name)) for name in _NUMBERS},
        **{name: told.numbers(getattr(h, name)) for name in _LISTS},
        **{name: told.word(getattr(h, name)) for name in _CODES},
        "image_type": told.words(h.image_type),
        "convolution_kernel": told.words(h.convolution_kernel),
        "kernel_is": kernel_kind(h.convolution_kernel).value,
        "manufacturer": told.maker(h.manufacturer),
        "specific_character_set": told.character_set(h.specific_character_set),
        "contrast_is_told": bool(h.contrast_bolus_agent),
        "description": told.token("\n".join(descriptions)),
        "description_says": [what for what, says in _SAYS.items() if says(*descriptions)],
        **{name: told.token(getattr(h, name)) for name in ("station_name", "manufacturer_model_name")},
        "acquired": told.token(h.acquisition_date + h.acquisition_time),
    }


_UIDS = (
    "sop_instance_uid",
    "sop_class_uid",
    "study_instance_uid",
    "series_instance_uid",
    "transfer_syntax_uid",
    "frame_of_reference_uid",
)
_CODES = ("modality", "body_part_examined", "photometric_interpretation", "burned_in_annotation")
_NUMBERS = (
    "series_number",
    "instance_number",
    "acquisition_number",
    "images_in_acquisition",
    "slice_thickness_mm",
    "spacing_between_slices_mm",
    "gantry_detector_tilt_deg",
    "rows",
    "columns",
    "number_of_frames",
    "samples_per_pixel",
)
_LISTS = ("pixel_spacing_mm", "image_orientation_patient", "image_position_patient")
NOT_TOLD = frozenset(f.name for f in fields(InstanceHeader)) - {
    *_UIDS,
    *_CODES,
    *_NUMBERS,
    *_LISTS,
    *("image_type", "convolution_kernel", "manufacturer", "specific_character_set", "contrast_bolus_agent"),
    *("series_description", "protocol_name", "study_description", "station_name", "manufacturer_model_name"),
    *("acquisition_date", "acquisition_time"),
}
"""What of a header is left out whole, not even as a token: who the patient is, and when."""


def _selection(told: _Told, study: studies.StudyRecord) -> Json | None:
    s = study.selection
    if s is None:
        return None
    refused = [
        {"series": told.uid(uid), "number": told.number(number), "reason": told.token(why)}
        for uid, number, why in s.rejected
    ]
    return {"series": told.uid(s.series_instance_uid or ""), "reason": told.token(s.reason), "refused": refused}


def _decision(told: _Told, record: results.ResultRecord) -> Json:
    then, detail = as_stored(record), record.detail
    return {
        "revision": record.revision,
        "decided_s": told.seconds(record.created_at),
        "model": told.digest(record.bundle_digest),
        "configuration": told.digest(record.config_digest),
        "policy_version": then.policy_version,
        "answer": told.word(then.answer),
        "finding": told.word(then.finding),
        "evidence": told.word(then.evidence),
        **{
            name: told.number(getattr(then, name))
            for name in (
                "probability",
                "raise_probability",
                "notify_probability",
                "hematoma_volume_ml",
                "key_slice_index",
            )
        },
        "subtypes": told.words(then.subtypes),
        "locations": told.words(then.locations),
        "slice_probabilities": told.numbers(detail.get("slice_probabilities")),
        "components": [
            {
                "volume_ml": told.number(c["volume_ml"]),
                "subtype": c["subtype"] and told.word(c["subtype"]),
                "location": told.word(c["location"]),
                "key_slice_index": told.number(c["key_slice_index"]),
                "probability": told.number(c["probability"]),
            }
            for c in detail.get("components", ())
        ],
    }


def _configuration(value: Any) -> Any:
    """Numbers, switches and words of the program. Of any other text only whether there is one: it may be an address or a secret."""
    if isinstance(value, BaseModel):
        return {name: _configuration(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, tuple | list):
        return [_configuration(v) for v in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return value.value if isinstance(value, Enum) else bool(value)
