"""Identity moves of a study (DESIGN.md section 3): the same instance came again with other bytes. Who is right?"""

from __future__ import annotations

import hashlib
import logging

from triage_node.domain.errors import DecodeError
from triage_node.domain.instance import ReceivedInstance
from triage_node.domain.study import StudyIdentity
from triage_node.instances.archive import Archive
from triage_node.processes.running import now
from triage_node.store import instances, studies
from triage_node.store.engine import Store
from triage_node.study.identity import IdentityMove, OtherPixels, judge_repeat
from triage_node.study.identity import two_patients as judge_two_patients
from triage_node.study.selection import CT_CLASSES
from triage_node.volume.decode import Decoder

log = logging.getLogger(__name__)


def two_patients(held: list[ReceivedInstance]) -> str:
    """Why one study holds two patients, else empty."""
    return judge_two_patients(instances.identity_of(i.header) for i in held if i.header is not None)


def digest(identity: StudyIdentity) -> str:
    """What goes into the UIDs of our objects, so that a corrected identity gives new ones."""
    return hashlib.sha256(repr(identity).encode()).hexdigest()


def judge_repeats(
    store: Store,
    received: Archive,
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
    corrected = False
    for repeat in instances.repeats(store, uid):
        original = first.get(repeat.sop_instance_uid)
        if original is None or original.header is None or repeat.header is None:
            continue
        if repeat.sop_class_uid not in CT_CLASSES:  # a dose report that comes again changes nothing that we do
            instances.set_pixel_digests(store, {repeat.sha256: "no image"})
            continue
        old, new = _pixels(store, received, decoder, original), _pixels(store, received, decoder, repeat)
        verdict = judge_repeat(
            instances.identity_of(original.header),
            old,
            instances.identity_of(repeat.header),
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
                studies.correct_identity(
                    store, uid, instances.identity_of(repeat.header), now(), repeat.calling_ae_title
                )
                corrected = True
            studies.notice(store, uid, verdict.words, now())
            log.warning("study=%s %s", uid, verdict.words)
    return corrected


def _pixels(store: Store, received: Archive, decoder: Decoder, instance: ReceivedInstance) -> str:
    """Pixel digest, from the store or computed; empty when nothing can be decoded."""
    known = instances.pixel_digests(store, [instance.sha256])
    if instance.sha256 not in known:
        try:
            known[instance.sha256] = decoder.pixel_digest(received.path(instance.sha256))
        except DecodeError:
            return ""
        instances.set_pixel_digests(store, known)
    return known[instance.sha256]
