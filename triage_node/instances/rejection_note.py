"""Reads what a foreign key object selection rejects. It comes from anybody, so nothing is read of one that is too large.

The references of the Current Requested Procedure Evidence Sequence count: it names every instance of the content with its
study (PS3.3 C.17.2 and C.17.6.2.1). Source of the titles: IHE RAD TF-3 4.66.4.1.2, PS3.16 CID 7011.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from triage_node.domain.errors import UNREADABLE, NoteRefused
from triage_node.domain.identifiers import is_uid
from triage_node.domain.rejection import RejectionNote, RejectionReason

LONGEST_NOTE_BYTES = 4 << 20
MOST_REFERENCES = 10_000
"""Twice the instances that a study may have."""

_MOST_ITEMS = 5 * MOST_REFERENCES
"""Of all sequences: each reference takes three, and a library makes an object of every one."""
_ITEM = b"\xfe\xff\x00\xe0"
_EVIDENCE = "CurrentRequestedProcedureEvidenceSequence"
_BROKEN = (InvalidDicomError, BytesLengthException, OSError, *UNREADABLE)
_REASONS = {r.value: r for r in RejectionReason}


def read_rejection_note(file: Path) -> RejectionNote | None:
    """What the note rejects; None for a key object selection under another title, which rejects nothing.

    Raises: NoteRefused, with a sentence, for what is too large or cannot be read. Deflated ones never come: the listener takes none.
    """
    if file.stat().st_size > LONGEST_NOTE_BYTES:
        raise NoteRefused(f"a key object selection of more than {LONGEST_NOTE_BYTES >> 20} MiB is not read")
    data = file.read_bytes()
    if data.count(_ITEM) > _MOST_ITEMS:
        raise NoteRefused(f"a key object selection of more than {_MOST_ITEMS} items is not read")
    try:
        with pydicom.config.disable_value_validation():
            ds = dcmread(BytesIO(data), force=True, specific_tags=["ConceptNameCodeSequence", _EVIDENCE])
            reason = _reason(ds)
            return None if reason is None else RejectionNote(reason, _named(ds))
    except _BROKEN as error:
        raise NoteRefused(f"a key object selection that cannot be read: {type(error).__name__}") from error


def _reason(ds: Dataset) -> RejectionReason | None:
    for title in _items(ds, "ConceptNameCodeSequence"):
        if str(title.get("CodingSchemeDesignator", "")).strip() == "DCM":
            return _REASONS.get(str(title.get("CodeValue", "")).strip())
    return None


def _named(ds: Dataset) -> tuple[tuple[str, str], ...]:
    """Raises: NoteRefused when it names more than a study can have."""
    found: dict[tuple[str, str], None] = {}
    for study in _items(ds, _EVIDENCE):
        study_uid = str(study.get("StudyInstanceUID", "")).strip("\0 ")
        for series in _items(study, "ReferencedSeriesSequence"):
            for reference in _items(series, "ReferencedSOPSequence"):
                uid = str(reference.get("ReferencedSOPInstanceUID", "")).strip("\0 ")
                if is_uid(study_uid) and is_uid(uid):
                    found[study_uid, uid] = None
                if len(found) > MOST_REFERENCES:
                    raise NoteRefused(
                        f"a rejection note that names more than {MOST_REFERENCES} instances is not applied"
                    )
    return tuple(found)


def _items(ds: Dataset, keyword: str) -> Iterator[Dataset]:
    found = ds.get(keyword)
    if isinstance(found, Sequence):
        yield from (item for item in found if isinstance(item, Dataset))
