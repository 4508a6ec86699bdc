"""STANDARDS.md 2.6.4: names survive in every kind of object, in the sets that modalities send."""

from __future__ import annotations

import dataclasses
import io

import pydicom
import pytest

from tests.report import sample, validators
from triage_node.domain.delivery import ObjectKind
from triage_node.report.build import build_objects
from triage_node.report.read_back import read
from triage_node.report.rejection_note import Rejection, RejectionRequest, build_rejection_note

LIKE_ANOTHER = {
    ObjectKind.LOCATION_SR,
    ObjectKind.NOT_FLAGGED_SR,
    ObjectKind.NOT_ANALYSED_SR,
    ObjectKind.NOT_ANALYSED_SC,
    ObjectKind.SUMMARY_SC,
}
"""The validator saw their attributes already, in another kind."""
JAPANESE = "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"
KOREAN = "Hong^Gildong=洪^吉洞=홍^길동"
SETS = [
    ("Latin-1", ("ISO_IR 100",), "Müller^Zoë", "ISO_IR 100"),
    ("UTF-8", ("ISO_IR 192",), "Łódź^Ţîrlea", "ISO_IR 192"),
    ("Japanese, katakana first", ("ISO_IR 13", "ISO 2022 IR 87"), JAPANESE, "ISO_IR 192"),
    ("Japanese, code extensions", ("ISO 2022 IR 13", "ISO 2022 IR 87"), JAPANESE, "ISO_IR 192"),
    (
        "Japanese, Latin first",
        ("", "ISO 2022 IR 87"),
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "ISO_IR 192",
    ),
    ("Korean, first value empty", ("", "ISO 2022 IR 149"), KOREAN, "ISO_IR 192"),
    ("Korean, first value named", ("ISO 2022 IR 6", "ISO 2022 IR 149"), KOREAN, "ISO_IR 192"),
    ("Chinese", ("GB18030",), "Wang^XiaoDong=王^小东", "ISO_IR 192"),
    ("Greek", ("ISO_IR 126",), "Διονυσιος", "ISO_IR 192"),
]


def as_received(headers: tuple[pydicom.Dataset, ...]) -> tuple[pydicom.Dataset, ...]:
    """Through bytes, so that names are in the source's encoding."""
    out = []
    for ds in headers:
        buffer = io.BytesIO()
        ds.save_as(buffer, enforce_file_format=True)
        out.append(pydicom.dcmread(io.BytesIO(buffer.getvalue())))
    return tuple(out)


@pytest.mark.parametrize(("character_set", "name", "expected"), [s[1:] for s in SETS], ids=[s[0] for s in SETS])
def test_a_name_survives_in_every_kind_of_object(character_set, name, expected, tmp_path):
    volume = sample.volume(slices=3, size=32)
    request = sample.request(volume, sources=as_received(sample.headers(volume, name, character_set)))
    flagged = build_objects(request)
    unflagged = dataclasses.replace(
        request, kinds=sample.EVERYTHING, decision=sample.decision(request.detection, flagged=False)
    )
    unanalysed = dataclasses.replace(
        request,
        kinds=sample.EVERYTHING,
        volume=None,
        detection=None,
        decision=None,
        not_analysed_reason="No image content.",
    )
    note = build_rejection_note(
        RejectionRequest([f.data for f in flagged], Rejection.PATIENT_SAFETY, "Wrong patient.", sample.NODE, sample.AT)
    )
    files = (*flagged, *build_objects(unflagged), *build_objects(unanalysed), note)
    assert {f.built.kind for f in files} == set(ObjectKind)
    for f in files:
        ds = read(f.data)
        assert str(ds.PatientName) == name, f.built.kind
        assert ds.SpecificCharacterSet == expected
    some = {f.built.kind: f for f in files if f.built.kind not in LIKE_ANOTHER}
    for path in validators.written(tuple(some.values()), tmp_path):
        assert [c for c in validators.dciodvfy(path) if c.startswith("Error")] == []


def test_latin_bytes_without_a_declared_set_stay_the_bytes_that_came():
    """A common fault of modalities: the name is Latin-1, and nothing says so."""
    volume = sample.volume(slices=6, size=32)
    headers = as_received(sample.headers(volume, "Müller^Zoë", ("ISO_IR 100",)))
    for ds in headers:
        del ds.SpecificCharacterSet
    kinds = frozenset({ObjectKind.SUMMARY_SC})
    (page,) = build_objects(sample.request(volume, sources=headers, kinds=kinds))
    assert "Müller^Zoë".encode("latin-1") in page.data


def test_plain_ascii_stays_without_a_declared_set():
    volume = sample.volume(slices=6, size=32)
    headers = sample.headers(volume)
    for ds in headers:
        del ds.SpecificCharacterSet
    (page,) = build_objects(sample.request(volume, sources=headers, kinds=frozenset({ObjectKind.SUMMARY_SC})))
    assert "SpecificCharacterSet" not in read(page.data)


def test_our_own_institution_may_need_more_than_the_source_set():
    volume = sample.volume(slices=6, size=32)
    node = dataclasses.replace(sample.NODE, institution="Szpital Łódź")
    request = sample.request(volume, kinds=frozenset({ObjectKind.FINDINGS_SR}), node=node)
    ds = read(build_objects(request)[0].data)
    assert (ds.SpecificCharacterSet, ds.InstitutionName) == ("ISO_IR 192", "Szpital Łódź")
