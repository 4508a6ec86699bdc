"""Identity moves of a study (DESIGN.md section 3): the same instance came again with other bytes. Who is right?"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace

from triage_node.blobs.places import Shelf
from triage_node.domain.errors import DecodeError
from triage_node.domain.instance import ReceivedInstance
from triage_node.domain.study import IdentityCorrection, StudyEvent, StudyIdentity, StudyState
from triage_node.processes.running import now
from triage_node.store import instances, orders, outbox, studies
from triage_node.store.engine import Store
from triage_node.study.identity import IdentityMove, OtherPixels, corrected, judge_repeat
from triage_node.study.identity import two_patients as judge_two_patients
from triage_node.study.selection import CT_CLASSES
from triage_node.volume.decode import Decoder

log = logging.getLogger(__name__)


HELD_BACK = "the identity was corrected; what is made anew goes instead"
_ENDED = frozenset({StudyState.REPORTED, StudyState.DELIVERED, StudyState.DECLINED})


def two_patients(held: list[ReceivedInstance], corrections: Sequence[IdentityCorrection] = ()) -> str:
    """Why one study holds two patients, else empty. Who was merged into another one is no second patient."""
    told = dict.fromkeys(instances.identity_of(i.header) for i in held if i.header is not None)
    return judge_two_patients(corrected(identity, corrections) for identity in told)


def issued_under(
    told: StudyIdentity, current: StudyIdentity, corrections: Sequence[IdentityCorrection]
) -> StudyIdentity:
    """Under which identity results of these images are issued: what somebody corrected goes before what the headers say."""
    changed = {name for c in corrections for name in c.changed}
    return replace(told, **{name: getattr(current, name) for name in changed})


def correct(store: Store, received: Shelf, uid: str, identity: StudyIdentity, actor: str, reissue: bool = True) -> str:
    """Give a study another identity, in one transaction with all that follows. Returns what follows, in words.

    What waits for an archive under the old identity is held back; messages are looked at again when they go (messages.py). A study
    that was reported goes through analysis once more: the same pixels, model and thresholds give the same finding, in a new revision
    that names its predecessor. `reissue` is false where the caller is that very analysis.
    """
    held = instances.of_study(store, uid) if reissue else []
    can_read = all(received.has(i.sha256) for i in held)
    with store.write() as c:
        at = now()  # after the lock: what was queued before this instant carries the old identity
        corrected_at = studies.correct_identity(c, uid, identity, at, actor)
        stopped = outbox.hold_back(c, uid, HELD_BACK, at)
        state = studies.state_of(c, uid)
        if reissue and can_read and state in _ENDED:
            studies.advance(c, uid, StudyEvent.REOPENED, at, "identity corrected", actor)
    left = len(orders.delivered_before(store, uid, corrected_at))
    told = [f"{left} objects were delivered under the old identity"] if left else []
    if not can_read and (left or stopped):
        told.append("the images are gone, so nothing can be issued again")
    return "; ".join(told)


def digest(identity: StudyIdentity) -> str:
    """What goes into the UIDs of our objects, so that a corrected identity gives new ones."""
    return hashlib.sha256(repr(identity).encode()).hexdigest()


def judge_repeats(
    store: Store,
    received: Shelf,
    decoder: Decoder,
    uid: str,
    may_correct: frozenset[str],
    held: list[ReceivedInstance],
) -> bool:
    """Judge every repeat of a study that was not judged yet. True when an identity was corrected.

    Other pixels are quarantined, the first stays. A corrected identity takes the place of the old one; an identity that
    came from somebody who may not correct is a conflict, shown on the list until a person decides.
    """
    first = {i.sop_instance_uid: i for i in held}
    corrections = studies.identity_corrections(store, uid)
    found = False
    for repeat in instances.repeats(store, uid):
        original = first.get(repeat.sop_instance_uid)
        if original is None or original.header is None or repeat.header is None:
            continue
        if repeat.sop_class_uid not in CT_CLASSES:  # a dose report that comes again changes nothing that we do
            instances.set_pixel_digests(store, {repeat.sha256: "no image"})
            continue
        old, new = _pixels(store, received, decoder, original), _pixels(store, received, decoder, repeat)
        verdict = judge_repeat(
            corrected(instances.identity_of(original.header), corrections),
            old,
            corrected(instances.identity_of(repeat.header), corrections),
            new,
            repeat.calling_ae_title in may_correct,
        )
        if isinstance(verdict, OtherPixels):
            instances.quarantine(store, repeat.sha256, verdict.reason)
            studies.notice(store, uid, verdict.reason, now())
            continue
        if isinstance(verdict, IdentityMove):
            if verdict.applied:
                instances.supersede(store, original.sha256, repeat.sha256)
                told = instances.identity_of(repeat.header)
                correct(store, received, uid, told, repeat.calling_ae_title, reissue=False)
                found = True
            studies.notice(store, uid, verdict.words, now())
            log.warning("study=%s %s", uid, verdict.words)
    return found


def _pixels(store: Store, received: Shelf, decoder: Decoder, instance: ReceivedInstance) -> str:
    """Pixel digest, from the store or computed; empty when nothing can be decoded."""
    known = instances.pixel_digests(store, [instance.sha256])
    if instance.sha256 not in known:
        try:
            known[instance.sha256] = decoder.pixel_digest(received.path(instance.sha256))
        except DecodeError:
            return ""
        instances.set_pixel_digests(store, known)
    return known[instance.sha256]
