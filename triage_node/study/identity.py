"""Whose study is it, when the same instance comes again with other bytes (DESIGN.md section 3 "Identity moves"). Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from itertools import combinations

from triage_node.domain.study import IdentityCorrection, StudyIdentity

MOST_SPELLINGS = 50
"""More identities than this in one study are nobody's; comparing thousands with each other would hold up the others."""


@dataclass(frozen=True, slots=True)
class Same:
    """Equal pixels, equal identity: nothing happens."""


@dataclass(frozen=True, slots=True)
class IdentityMove:
    """Equal pixels, other identity. `applied`: it came from somebody who may correct; else it is a conflict that a person
    decides, and the flag stays. `changed` names the fields that differ, never their values.
    """

    applied: bool
    changed: tuple[str, ...]

    @property
    def words(self) -> str:
        what = ", ".join(name.replace("_", " ") for name in self.changed)
        return f"identity corrected: {what}" if self.applied else f"identity conflict: {what}"


@dataclass(frozen=True, slots=True)
class OtherPixels:
    """Another picture under a known SOP Instance UID: it is quarantined, the first one stays."""

    reason: str = "other pixels under a SOP Instance UID that is already there"


def corrected(identity: StudyIdentity, corrections: Iterable[IdentityCorrection]) -> StudyIdentity:
    """What a header's identity means today: a value that was corrected since stands for the new one, whenever it comes."""
    for correction in corrections:
        old = {f: getattr(correction.old, f) for f in correction.changed}
        told = {f: getattr(identity, f) for f in old}
        stale = [f for f in old if _normal(f, told[f]) == _normal(f, old[f])]
        identity = replace(identity, **{f: getattr(correction.new, f) for f in stale})
    return identity


def judge_repeat(
    first: StudyIdentity,
    first_pixel_digest: str,
    newcomer: StudyIdentity,
    newcomer_pixel_digest: str,
    may_correct_identity: bool,
) -> Same | IdentityMove | OtherPixels:
    """Compare what came again with what is stored.

    `may_correct_identity` is true for ADT and for peers that are configured so. An empty digest (pixels that could not be
    decoded) equals nothing.
    """
    if not first_pixel_digest or first_pixel_digest != newcomer_pixel_digest:
        return OtherPixels()
    changed = tuple(
        f.name
        for f in fields(StudyIdentity)
        if _normal(f.name, getattr(first, f.name)) != _normal(f.name, getattr(newcomer, f.name))
    )
    return IdentityMove(may_correct_identity, changed) if changed else Same()


def two_patients(identities: Iterable[StudyIdentity]) -> str:
    """Why the instances under one Study Instance UID cannot be one patient's; empty when they can. Such a study is
    quarantined.

    Different IDs of one issuer decide; without comparable IDs, a different name together with a different birth date. Another spelling
    of the name alone is no other patient.
    """
    distinct = list(dict.fromkeys(_normalised(i) for i in identities))
    if len(distinct) > MOST_SPELLINGS:
        return "many identities under one Study Instance UID"
    if any(_are_two(a, b) for a, b in combinations(distinct, 2)):
        return "two patients under one Study Instance UID"
    return ""


def _normalised(identity: StudyIdentity) -> StudyIdentity:
    return StudyIdentity(**{f.name: _normal(f.name, getattr(identity, f.name)) for f in fields(StudyIdentity)})


def _are_two(one: StudyIdentity, other: StudyIdentity) -> bool:
    if one.patient_id and other.patient_id and not _differ(one.issuer_of_patient_id, other.issuer_of_patient_id):
        return one.patient_id != other.patient_id
    return _differ(one.patient_name, other.patient_name) and _differ(one.patient_birth_date, other.patient_birth_date)


def _differ(one: str, other: str) -> bool:
    """Both are told, and not the same."""
    return bool(one and other and one != other)


def _normal(field: str, value: str) -> str:
    """What two spellings of one value have in common: Unicode form, case, padding, empty name components.

    Of a name the first component group counts: the ideographic one may get lost on the way through a router.
    """
    text = unicodedata.normalize("NFKC", value).strip().casefold()
    if field != "patient_name":
        return text
    components = (" ".join(c.split()) for c in text.partition("=")[0].split("^"))
    return "^".join(components).rstrip("^")
