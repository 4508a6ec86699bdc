"""Where objects of the heartbeat go: a folder of this node, in the place of an archive."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from triage_node.blobs.opened import open_blobs
from triage_node.blobs.places import copies_folder
from triage_node.config.schema import ArchiveSettings, Settings
from triage_node.delivery.outgoing import Outgoing
from triage_node.delivery.retry import Outcome, Verdict
from triage_node.domain.delivery import ObjectKind
from triage_node.domain.errors import BlobsAway
from triage_node.processes.operations.names import SINK

KINDS = (ObjectKind.FINDINGS_SR, ObjectKind.SEG)
_ARCHIVE = ArchiveSettings(name=SINK, ae_title="HEARTBEAT", host="127.0.0.1", clinical=False, kinds=KINDS)


def only_destination(settings: Settings) -> Settings:
    """The settings of a node that knows the sink and no archive: what is built under them can go nowhere else."""
    return settings.model_copy(update={"archives": (_ARCHIVE,)})


def archive() -> ArchiveSettings:
    return _ARCHIVE


def folder(settings: Settings) -> Path:
    """On the host that delivers, or a copy of it."""
    data = settings.store.data_folder
    return (copies_folder(data) if settings.store.blob_url else data) / "heartbeat"


def path_of(settings: Settings, sop_instance_uid: str) -> Path:
    return folder(settings) / f"{sop_instance_uid}.dcm"


class Sink:
    """Takes objects as an archive would."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._blobs = settings, open_blobs(settings.store)

    def send_batch(
        self, archive: ArchiveSettings, files: Sequence[Outgoing], stopping: Callable[[], bool]
    ) -> dict[str, Outcome]:
        folder(self._settings).mkdir(mode=0o700, parents=True, exist_ok=True)
        return {f.sop_instance_uid: self._take(f) for f in files}

    def _take(self, file: Outgoing) -> Outcome:
        at = path_of(self._settings, file.sop_instance_uid)
        try:
            at.with_suffix(".tmp").write_bytes(file.path.read_bytes())
            os.replace(at.with_suffix(".tmp"), at)
            self._blobs.publish(at)  # the scheduler, which looks at it, may run on another host
        except BlobsAway as error:
            return Outcome(Verdict.AGAIN, str(error))
        except OSError as error:
            return Outcome(Verdict.AGAIN, f"the heartbeat's folder cannot be written: {error.strerror}")
        return Outcome(Verdict.STORED)
