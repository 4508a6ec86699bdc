"""C-STORE of stored files, byte for byte, one association for a batch.

The data set is never decoded: the bytes after the file meta go out as they lie on disk, in their own transfer syntax.
After any error on the wire the association is aborted, never used again (PEERS.md 2.1).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydicom.uid import UID
from pynetdicom import _config, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from triage_node.config.schema import ArchiveSettings
from triage_node.delivery.outgoing import Outgoing, transfer_syntax
from triage_node.delivery.retry import Outcome, Verdict, outcome_of_status
from triage_node.dimse import calling
from triage_node.dimse.calling import GRACE_S, Callee, NotAssociated, abort, release
from triage_node.dimse.line import Line

log = logging.getLogger(__name__)

_MAXIMUM_CONTEXTS = 128
_SLOWEST_BYTES_PER_S = 512 << 10
"""A link that is slower than this counts as hung; a large object over a slow one does not."""
_NO_ANSWER = "no valid answer in time, or the association was lost"

# the file's own bytes go out; else pynetdicom would read, decode and encode the data set
_config.STORE_SEND_CHUNKED_DATASET = True


def send_batch(
    archive: ArchiveSettings, objects: Sequence[Outgoing], stopping: Callable[[], bool] = lambda: False
) -> dict[str, Outcome]:
    """Send objects over one association. Returns sop_instance_uid -> Outcome for every one of them.

    One refused SOP class does not lose the rest. Nothing is raised for what a peer or a file can do.
    """
    outcomes: dict[str, Outcome] = {}
    syntaxes: dict[str, UID] = {}
    for o in objects:
        found = transfer_syntax(o)
        if isinstance(found, Outcome):
            outcomes[o.sop_instance_uid] = found
        else:
            syntaxes[o.sop_instance_uid] = found
    ready = [o for o in objects if o.sop_instance_uid in syntaxes]
    kinds = list(dict.fromkeys((o.sop_class_uid, syntaxes[o.sop_instance_uid]) for o in ready))
    for start in range(0, len(kinds), _MAXIMUM_CONTEXTS):
        part = set(kinds[start : start + _MAXIMUM_CONTEXTS])
        chosen = [o for o in ready if (o.sop_class_uid, syntaxes[o.sop_instance_uid]) in part]
        outcomes |= _send(archive, chosen, syntaxes, stopping)
    return outcomes


def associate(
    archive: ArchiveSettings,
    kinds: Sequence[tuple[str, UID]],
    commitment: bool = False,
    handlers: Sequence[evt.EventHandlerType] = (),
) -> tuple[Association, Line] | Outcome:
    """An established association, or why there is none."""
    contexts = [build_context(sop_class, syntax) for sop_class, syntax in kinds]
    if commitment:
        contexts = [build_context(StorageCommitmentPushModel)]
    callee = Callee(
        archive.host,
        archive.port,
        archive.ae_title,
        archive.calling_ae_title,
        archive.connect_timeout_s,
        archive.response_timeout_s,
        archive.tls,
        archive.tls_ca,
        archive.certificate,
        archive.private_key,
    )
    try:
        return calling.associate(callee, contexts, handlers)
    except NotAssociated as error:
        return Outcome(Verdict.NEVER if error.permanent else Verdict.UNTRIED, str(error), of_association=error.rejected)


def _send(
    archive: ArchiveSettings,
    objects: Sequence[Outgoing],
    syntaxes: Mapping[str, UID],
    stopping: Callable[[], bool],
) -> dict[str, Outcome]:
    kinds = list(dict.fromkeys((o.sop_class_uid, syntaxes[o.sop_instance_uid]) for o in objects))
    opened = associate(archive, kinds)
    if isinstance(opened, Outcome):
        return dict.fromkeys((o.sop_instance_uid for o in objects), opened)
    association, line = opened
    accepted = {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts}
    outcomes: dict[str, Outcome] = {}
    lost = False
    for number, o in enumerate(objects, start=1):
        if (o.sop_class_uid, str(syntaxes[o.sop_instance_uid])) not in accepted:
            words = f"SOP class {UID(o.sop_class_uid).name} not accepted"
            outcomes[o.sop_instance_uid] = Outcome(Verdict.NEVER, words)
        elif lost:
            outcomes[o.sop_instance_uid] = Outcome(Verdict.UNTRIED, "the association was lost")
        elif stopping():
            outcomes[o.sop_instance_uid] = Outcome(Verdict.UNTRIED, "the node was stopped")
        else:
            status = _store(association, line, o.path, number, archive.response_timeout_s)
            lost = status is None
            judged = (
                Outcome(Verdict.AGAIN, _NO_ANSWER, perhaps_there=True) if status is None else outcome_of_status(status)
            )
            outcomes[o.sop_instance_uid] = judged
    release(association, line, archive.response_timeout_s)
    return outcomes


def _store(association: Association, line: Line, path: Path, message_id: int, response_timeout_s: float) -> int | None:
    """One C-STORE. Returns its status; None when no valid answer came in time, and the association is aborted then."""
    try:
        allowed_s = response_timeout_s + path.stat().st_size / _SLOWEST_BYTES_PER_S
        association.dimse_timeout = allowed_s
        with line.cut_after(allowed_s + GRACE_S):
            answer = association.send_c_store(path, msg_id=message_id)
    except (OSError, RuntimeError, AttributeError, ValueError) as error:
        log.warning("C-STORE failed: %s", error)
        answer = None
    if answer is None or "Status" not in answer:
        abort(association, line)
        return None
    return int(answer.Status)
