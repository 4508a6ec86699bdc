"""What a foreign key object selection says, and what of it is not listened to."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.support.key_objects import rejection_note
from triage_node.domain.errors import NoteRefused
from triage_node.domain.rejection import RejectionNote, RejectionReason
from triage_node.instances.rejection_note import LONGEST_NOTE_BYTES, MOST_REFERENCES, read_rejection_note


def naming_many(file: Path, count: int) -> Path:
    """A note with so many references, written by hand: a library takes ten seconds for 100,000."""
    ds = dcmread(rejection_note(file, "1.2.3", ("1.9.1",)))
    level = ds
    for keyword in ("CurrentRequestedProcedureEvidenceSequence", "ReferencedSeriesSequence", "ReferencedSOPSequence"):
        level[keyword].is_undefined_length = True
        (level,) = level[keyword].value
        level.is_undefined_length_sequence_item = keyword != "ReferencedSOPSequence"
    ds.save_as(file, enforce_file_format=True)
    data = file.read_bytes()
    end = data.index(b"1.9.1\0") + 6
    start = data.rindex(_ITEM, 0, end)
    data = data[:start] + b"".join(_reference(n) for n in range(count)) + data[end:]
    file.write_bytes(data)
    return file


_ITEM = b"\xfe\xff\x00\xe0"


def _reference(number: int) -> bytes:
    uid = f"1.9.{10_000_000 + number}".encode()
    element = b"\x08\x00\x55\x11UI" + struct.pack("<H", len(uid)) + uid
    return _ITEM + struct.pack("<L", len(element)) + element


@pytest.mark.parametrize("reason", RejectionReason)
def test_a_note_says_why_and_which(tmp_path, reason):
    note = read_rejection_note(rejection_note(tmp_path / "note", "1.2.3", ("1.9.1", "1.9.2", "1.9.1"), reason.value))
    assert note == RejectionNote(reason, (("1.2.3", "1.9.1"), ("1.2.3", "1.9.2")))


def nested(depth: int) -> Dataset:
    inner = Dataset()
    for _ in range(depth):
        outer = Dataset()
        outer.ReferencedSeriesSequence = Sequence([inner])
        inner = outer
    return inner


@pytest.mark.parametrize(
    "changes",
    [
        {"ConceptNameCodeSequence": []},
        {"ConceptNameCodeSequence": [Dataset()]},
    ],
    ids=["no title", "an empty title"],
)
def test_a_selection_without_such_a_title_rejects_nothing(tmp_path, changes):
    assert read_rejection_note(rejection_note(tmp_path / "note", "1.2.3", ("1.9.1",), **changes)) is None
    assert read_rejection_note(rejection_note(tmp_path / "other", "1.2.3", ("1.9.1",), "113000")) is None


@pytest.mark.parametrize(
    "evidence", [[], [Dataset()], [nested(100)]], ids=["none", "an empty item", "a hundred sequences in each other"]
)
def test_a_note_whose_references_say_nothing_names_nothing(tmp_path, evidence):
    file = rejection_note(tmp_path / "note", "1.2.3", ("1.9.1",), CurrentRequestedProcedureEvidenceSequence=evidence)
    assert read_rejection_note(file) == RejectionNote(RejectionReason.QUALITY, ())


def test_references_that_are_no_uids_are_left_out(tmp_path):
    file = rejection_note(tmp_path / "note", "1.2.3", ("1.9.1",))
    file.write_bytes(file.read_bytes().replace(b"1.9.1\0", b"../x'\0"))
    assert read_rejection_note(file) == RejectionNote(RejectionReason.QUALITY, ())


def test_a_hundred_thousand_references_are_refused_and_the_most_that_counts_is_read(tmp_path):
    with pytest.raises(NoteRefused, match="not read"):
        read_rejection_note(naming_many(tmp_path / "note", 100_000))
    with pytest.raises(NoteRefused, match=f"more than {MOST_REFERENCES}"):
        read_rejection_note(naming_many(tmp_path / "note", MOST_REFERENCES + 1))
    most = read_rejection_note(naming_many(tmp_path / "note", MOST_REFERENCES))
    assert most is not None
    assert len(most.named) == MOST_REFERENCES


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"\x00" * 4096,
        lambda data: data[:200],
        lambda data: data[:-7],
        lambda data: data[:132] + bytes(range(256)) * 64,
        lambda data: data + b"\xfe\xff\x00\xe0\0\0\0\0" * 60_000,
        lambda data: data + bytes(LONGEST_NOTE_BYTES),
    ],
    ids=["nothing", "zeros", "cut in the header", "cut at the end", "noise", "items without end", "too long"],
)
def test_garbage_is_refused_or_names_no_more_than_it_did(tmp_path, damage):
    file = rejection_note(tmp_path / "note", "1.2.3", ("1.9.1",))
    file.write_bytes(damage(file.read_bytes()))
    named = []
    with suppress(NoteRefused):
        said = read_rejection_note(file)
        named = list(said.named) if said is not None else []
    assert named in ([], [("1.2.3", "1.9.1")])
