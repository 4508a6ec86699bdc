"""Rejection notes of others (IHE IOCM, RAD-66), applied to the study in which they stand.

The rule (IHE RAD TF-3 4.66.4.1.3; titles of PS3.16 CID 7011):
- Only a note of a peer with `may_correct_identity` counts. Anybody else's is stored, changes nothing, and is a notice on the row.
- 113001 (quality), 113037 (patient safety) and 113038 (incorrect modality worklist entry) take the named instances out of use for
  good: whatever comes under a rejected SOP Instance UID, before or after the note, stays out. After 113038 the corrected images come
  under new UIDs, and are instances like any other.
- What is left is read again as a new revision. When nothing is left that can be read, the row says by whom it was rejected, and what
  we delivered is withdrawn by a note of our own. The flag stays either way: it ends by a person or a report (DESIGN.md invariant 4).
- 113039 (retention expired) says nothing about the images: a notice, and nothing else.
- A note counts for its own study only, and rejects no other note: so no two notes can chase each other. What this node wrote itself
  and gets back is no news.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

from triage_node.blobs.places import Shelf
from triage_node.domain.errors import NoteRefused
from triage_node.domain.instance import ReceivedInstance
from triage_node.domain.rejection import KEY_OBJECT_SELECTION, RejectedInstance, RejectionNote, RejectionReason
from triage_node.instances.rejection_note import read_rejection_note
from triage_node.processes.running import now
from triage_node.store import instances, rejections, studies
from triage_node.store.engine import Store
from triage_node.study.selection import SelectionPolicy

log = logging.getLogger(__name__)

_JUDGED = "no image"
"""Stands where the digest of pixels would."""


def judge_notes(
    store: Store, received: Shelf, uid: str, may_reject: frozenset[str], held: list[ReceivedInstance]
) -> bool:
    """Judge every key object selection of a study that was not judged yet. True when instances of it were rejected."""
    notes = [i for i in held if i.sop_class_uid == KEY_OBJECT_SELECTION]
    judged = instances.pixel_digests(store, [n.sha256 for n in notes])
    rejected = False
    for note in notes:
        if note.sha256 in judged:
            continue
        words, count = _judge(store, received, uid, note, note.calling_ae_title in may_reject, held)
        if words:
            studies.notice(store, uid, words, now())
            log.warning("study=%s note=%s %s", uid, note.sop_instance_uid, words)
        instances.set_pixel_digests(store, {note.sha256: _JUDGED})
        rejected = rejected or bool(count)
    return rejected


def in_words(rejected: Iterable[RejectedInstance]) -> str:
    """By whom and why, for a row of the list."""
    told = Counter((r.by, r.reason) for r in rejected)
    return "; ".join(f"rejected by {by}: {reason.in_words}" for by, reason in told)


def _judge(
    store: Store, received: Shelf, uid: str, note: ReceivedInstance, may_reject: bool, held: list[ReceivedInstance]
) -> tuple[str, int]:
    """(what to show, empty for nothing; how many instances of the study were taken out)."""
    if note.header is not None and note.header.manufacturer.strip() == SelectionPolicy().own_manufacturer:
        return "", 0
    try:
        said = read_rejection_note(received.path(note.sha256))
    except (NoteRefused, OSError) as refused:
        return (f"rejection note of {note.calling_ae_title} not applied: {refused}" if may_reject else ""), 0
    if said is None:
        return "", 0
    if not may_reject:
        return f"{note.calling_ae_title} may not reject, its note is ignored: {said.reason.in_words}", 0
    if said.reason is RejectionReason.RETENTION_EXPIRED:
        return f"note of {note.calling_ae_title}: {said.reason.in_words}", 0
    return _apply(store, uid, note, said, held)


def _apply(
    store: Store, uid: str, note: ReceivedInstance, said: RejectionNote, held: list[ReceivedInstance]
) -> tuple[str, int]:
    notes = {i.sop_instance_uid for i in held if i.sop_class_uid == KEY_OBJECT_SELECTION}
    own = [instance for study, instance in said.named if study == uid and instance not in notes]
    elsewhere = sum(study != uid for study, _ in said.named)
    with store.write() as c:
        rejections.reject(c, uid, own, said.reason, note.calling_ae_title, note.sop_instance_uid, now())
    words = f"{len(own)} instances named by {note.calling_ae_title}: {said.reason.in_words}"
    if elsewhere:
        words += f"; {elsewhere} references to other studies ignored"
    return words, len({i.sop_instance_uid for i in held}.intersection(own))
