"""Decides what happens to an instance: durable write, then the status, then a row.

Statuses (PS3.4 B.2.3, PS3.7 C): 0x0000 the bytes are on disk; 0xA700 no room on the disk or in a study, or rows wait
too long: try later; 0xA900 the data set is another instance than the command says; 0xC000 the elements cannot be read;
0x0117 the SOP Instance UID is none. What is refused leaves nothing behind.

The same bytes again are 0x0000 and no second file. Other bytes under the same UID are stored too; analysis judges them
(DESIGN.md section 3 "Identity moves").
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from triage_node.domain.errors import InstanceRefused, StoreError
from triage_node.domain.identifiers import is_uid
from triage_node.domain.instance import ReceivedInstance
from triage_node.domain.reception import Peer, Reception, StoreRequest
from triage_node.instances import header, part10
from triage_node.instances.archive import Archive
from triage_node.instances.backlog import Backlog
from triage_node.instances.blob_file import BUFFER_BYTES, BlobFile, Buffers, direct_writes_work
from triage_node.instances.elements import Unreadable, read_elements
from triage_node.instances.journal import Journal, MakeInstance
from triage_node.instances.study_counts import StudyCounts

SUCCESS = 0x0000
INVALID_SOP_INSTANCE = 0x0117
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
_NO_ASSOCIATION = 0
_SCRATCH = memoryview(bytearray(1 << 16))
"""Where the bytes of all that is refused go; taken beforehand, since want of memory is a reason to refuse."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Source: STANDARDS.md 7.4."""

    instance_bytes: int = 512 << 20
    instances_per_study: int = 5000
    stop_free_bytes: int = 5_000_000_000


@dataclass(frozen=True, slots=True)
class Stored:
    """What was stored, as the journal wants it. It travels between processes."""

    sha256: str
    size_bytes: int
    values: dict[int, bytes]
    request: StoreRequest
    received_at: datetime

    def __reduce__(self) -> tuple[object, ...]:
        """Plain values: pickle calls Python for each dataclass, and this happens for every instance."""
        r, p = self.request, self.request.peer
        peer = (p.number, p.calling_ae_title, p.called_ae_title, p.address, p.tls)
        request = (r.sop_class_uid, r.sop_instance_uid, r.transfer_syntax_uid)
        return _stored, (self.sha256, self.size_bytes, self.values, peer, request, self.received_at)

    def __call__(self, with_header: bool) -> ReceivedInstance:
        request = self.request
        return ReceivedInstance(
            sha256=self.sha256,
            size_bytes=self.size_bytes,
            sop_instance_uid=request.sop_instance_uid,
            sop_class_uid=request.sop_class_uid,
            transfer_syntax_uid=request.transfer_syntax_uid,
            received_at=self.received_at,
            header=header.header_from(self.values, request.transfer_syntax_uid) if with_header else None,
            calling_ae_title=request.peer.calling_ae_title,
            called_ae_title=request.peer.called_ae_title,
            peer_address=request.peer.address,
        )


def _stored(
    sha256: str,
    size_bytes: int,
    values: dict[int, bytes],
    peer: tuple[int, str, str, str, bool],
    request: tuple[str, str, str],
    received_at: datetime,
) -> Stored:
    return Stored(sha256, size_bytes, values, StoreRequest(Peer(*peer), *request), received_at)


class WaitingRows(Protocol):
    """Where an instance's row is asked for: the journal, or the way to it from another process."""

    @property
    def backlog(self) -> Backlog: ...

    def received(self, number: int, instance: MakeInstance) -> None: ...


class Intake:
    """Opens a reception for each C-STORE request. Shared by all associations."""

    def __init__(
        self,
        archive: Archive,
        journal: WaitingRows,
        limits: IntakeLimits,
        free_bytes: Callable[[], int] | None = None,
        direct: bool = True,
        counts: StudyCounts | None = None,
    ) -> None:
        """The archive is prepared. `free_bytes` tells what the disk still takes; `direct` False: never O_DIRECT."""
        self.archive, self.journal, self.limits = archive, journal, limits
        self._counts = counts or StudyCounts(1).of(0)
        self._buffers = Buffers()
        self._direct = direct and direct_writes_work(archive.blobs)
        self._free_bytes = free_bytes or self._free_on_disk

    def open(self, request: StoreRequest) -> Reception:
        """Never raises for what a sender says: a refusal is told when its data set has been read."""
        try:
            self._check_command(request)
        except InstanceRefused as refusal:
            return _Refused(refusal, self.limits.instance_bytes)
        head = part10.file_head(request.sop_class_uid, request.sop_instance_uid, request.transfer_syntax_uid)
        try:
            file = BlobFile(self.archive, self._buffers, self._direct, head)
        except (OSError, MemoryError) as error:
            return _Refused(_no_writing(error), self.limits.instance_bytes)
        return _Receiving(self, request, file, len(head))

    def check_room(self, wanted: int = 0) -> None:
        """Raises: InstanceRefused(0xA700) when `wanted` bytes more would go below the floor of free disk."""
        if self._free_bytes() - wanted < self.limits.stop_free_bytes:
            raise InstanceRefused(OUT_OF_RESOURCES, "free disk is below its floor")
        if self.journal.backlog.is_full:
            raise InstanceRefused(OUT_OF_RESOURCES, "too many instances wait for their rows")

    def is_full(self, study_instance_uid: str) -> bool:
        """True when a study has as many instances as it may. Counted since the start: the database is not asked."""
        return self._counts.total(study_instance_uid) >= self.limits.instances_per_study

    def count(self, study_instance_uid: str) -> None:
        self._counts.add(study_instance_uid)

    def _check_command(self, request: StoreRequest) -> None:
        if not is_uid(request.sop_instance_uid):
            raise InstanceRefused(INVALID_SOP_INSTANCE, "the SOP Instance UID of the command is no UID")
        if not is_uid(request.sop_class_uid):
            raise InstanceRefused(DOES_NOT_MATCH, "the SOP Class UID of the command is no UID")
        self.check_room()

    def _free_on_disk(self) -> int:
        state = os.statvfs(self.archive.blobs)
        return state.f_bavail * state.f_frsize


class _Receiving:
    """A reception whose bytes are kept."""

    def __init__(self, intake: Intake, request: StoreRequest, file: BlobFile, data_set_at: int) -> None:
        self._intake, self._request, self._file, self._data_set_at = intake, request, file, data_set_at
        self._refused: _Refused | None = None

    def room(self, wanted: int) -> memoryview:
        if self._refused is not None:
            return self._refused.room(wanted)
        size = self._file.size_bytes
        if size > self._intake.limits.instance_bytes:
            raise InstanceRefused(OUT_OF_RESOURCES, "the instance is longer than it may be")
        try:
            if self._file.is_full:
                self._intake.check_room(BUFFER_BYTES)
            return self._file.room(wanted)
        except InstanceRefused as refusal:
            return self._give_up(refusal).room(wanted)
        except (OSError, MemoryError) as error:
            return self._give_up(_no_writing(error)).room(wanted)

    def filled(self, count: int) -> None:
        if self._refused is not None:
            self._refused.filled(count)
            return
        self._file.filled(count)

    def finish(self) -> int:
        try:
            if self._refused is not None:
                return self._refused.finish()
            return self._keep()
        except InstanceRefused as refusal:
            return _tell(refusal, self._request)
        except (OSError, MemoryError) as error:
            return _tell(_no_writing(error), self._request)
        finally:
            self._file.discard()

    def abandon(self) -> None:
        self._file.discard()

    def _give_up(self, refusal: InstanceRefused) -> _Refused:
        self._file.discard()
        self._refused = _Refused(refusal, self._intake.limits.instance_bytes)
        return self._refused

    def _keep(self) -> int:
        request, size = self._request, self._file.size_bytes
        values = self._file.complete(
            lambda content: read_values(content, self._data_set_at, size, request.transfer_syntax_uid)
        )
        study = check_identity(values, request.sop_class_uid, request.sop_instance_uid)
        if self._intake.is_full(study) and not self._file.is_known():
            raise InstanceRefused(OUT_OF_RESOURCES, "the study has as many instances as it may")
        self._intake.check_room()
        sha256, new = self._file.commit()
        if new:
            self._intake.count(study)
        stored = Stored(sha256, size, values, request, datetime.now(UTC))
        self._intake.journal.received(request.peer.number, stored)
        self._intake.journal.backlog.give_way()
        return SUCCESS


class _Refused:
    """A reception whose bytes are thrown away, so that the sender can be told why."""

    def __init__(self, refusal: InstanceRefused, maximum_bytes: int) -> None:
        self._refusal, self._maximum_bytes = refusal, maximum_bytes
        self._read = 0

    def room(self, wanted: int) -> memoryview:
        if self._read > self._maximum_bytes:
            raise self._refusal
        return _SCRATCH[:wanted]

    def filled(self, count: int) -> None:
        self._read += count

    def finish(self) -> int:
        log.warning("instance refused status=0x%04X reason=%r", self._refusal.status, self._refusal.reason)
        return self._refusal.status

    def abandon(self) -> None:
        """Nothing was kept."""


def read_values(data: object, start: int, end: int, transfer_syntax_uid: str) -> dict[int, bytes]:
    """The wanted values of a data set. Raises: Unreadable."""
    explicit = transfer_syntax_uid != IMPLICIT_VR_LITTLE_ENDIAN
    return read_elements(data, start, end, explicit, header.WANTED)  # type: ignore[arg-type]


def reindex(archive: Archive, without_row: Callable[[Iterable[str]], set[str]], journal: Journal) -> int:
    """Let the journal write rows for blobs that have none: a crash came between the answer and the batch.

    Returns how many. Who sent them is not known any more; the time is that of the file. A blob whose bytes changed or
    cannot be read is indexed with a reason for quarantine and without header: it was answered 0x0000, so it is never
    silently dropped.
    """
    missing = sorted(without_row(list(archive.digests())))
    for sha256 in missing:
        journal.received(_NO_ASSOCIATION, partial(_reread, archive, sha256))
    return len(missing)


def _reread(archive: Archive, sha256: str, with_header: bool) -> ReceivedInstance:
    """The row of a blob that lies in the archive."""
    received_at = datetime.now(UTC)
    reason, size = "", 0
    meta, head = None, None
    try:
        # a file from the future, where the clock was wrong for a while, would keep its study from ever being complete
        received_at = min(archive.received_at(sha256), received_at)
        data = archive.read(sha256)
        size = len(data)
        meta = part10.read_file_head(data)
        if not archive.verify(sha256):
            raise Unreadable("the bytes on disk are not those that were received")
        values = read_values(data, meta.data_set_at, len(data), meta.transfer_syntax_uid)
        check_identity(values, meta.sop_class_uid, meta.sop_instance_uid)
        if with_header:
            head = header.header_from(values, meta.transfer_syntax_uid)
    except InstanceRefused as refusal:
        reason = refusal.reason
    except (OSError, StoreError) as error:
        reason = f"the bytes on disk cannot be read: {type(error).__name__}"
    return ReceivedInstance(
        sha256=sha256,
        size_bytes=size,
        sop_instance_uid=meta.sop_instance_uid if meta else "",
        sop_class_uid=meta.sop_class_uid if meta else "",
        transfer_syntax_uid=meta.transfer_syntax_uid if meta else "",
        received_at=received_at,
        header=head,
        quarantine_reason=reason,
    )


def check_identity(values: dict[int, bytes], sop_class_uid: str, sop_instance_uid: str) -> str:
    """Return the Study Instance UID. Raises: InstanceRefused(0xA900)."""
    if header.uid_text(values.get(header.SOP_INSTANCE_UID, b"")) != sop_instance_uid:
        raise InstanceRefused(DOES_NOT_MATCH, "the SOP Instance UID of the data set is another than the command's")
    if header.uid_text(values.get(header.SOP_CLASS_UID, b"")) != sop_class_uid:
        raise InstanceRefused(DOES_NOT_MATCH, "the SOP Class UID of the data set is another than the command's")
    study = header.uid_text(values.get(header.STUDY_INSTANCE_UID, b""))
    if not study or not header.uid_text(values.get(header.SERIES_INSTANCE_UID, b"")):
        raise InstanceRefused(DOES_NOT_MATCH, "Study or Series Instance UID is missing or no UID")
    return study


def _no_writing(error: OSError | MemoryError) -> InstanceRefused:
    why = error.strerror if isinstance(error, OSError) else "no memory"
    return InstanceRefused(OUT_OF_RESOURCES, f"writing failed: {why}")


def _tell(refusal: InstanceRefused, request: StoreRequest) -> int:
    log.warning(
        "instance refused status=0x%04X reason=%r peer=%s calling_ae_title=%r",
        refusal.status,
        refusal.reason,
        request.peer.address,
        request.peer.calling_ae_title,
    )
    return refusal.status
