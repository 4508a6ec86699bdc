"""From rows that wait to files that can be sent, wherever the bytes lie."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from triage_node.blobs.places import Shelf
from triage_node.delivery.outgoing import GONE, Outgoing
from triage_node.delivery.retry import Outcome, Verdict
from triage_node.domain.errors import BlobError, BlobMissing, BlobsAway

log = logging.getLogger(__name__)


class Waiting(Protocol):
    """An instance that is to go out."""

    @property
    def sop_instance_uid(self) -> str: ...
    @property
    def sop_class_uid(self) -> str: ...
    @property
    def sha256(self) -> str: ...


def files_of(shelf: Shelf, rows: Iterable[Waiting]) -> tuple[list[Outgoing], dict[str, Outcome]]:
    """The files of these rows, and by SOP Instance UID what becomes of rows whose file cannot be had."""
    files, without = [], {}
    for r in rows:
        try:
            files.append(Outgoing(r.sop_instance_uid, r.sop_class_uid, shelf.path(r.sha256)))
        except BlobsAway as error:
            without[r.sop_instance_uid] = Outcome(Verdict.AGAIN, str(error))
        except BlobMissing as error:
            log.error("object=%s: %s", r.sop_instance_uid, error)
            without[r.sop_instance_uid] = GONE
        except BlobError as error:
            without[r.sop_instance_uid] = Outcome(Verdict.NEVER, str(error))
    return files, without
