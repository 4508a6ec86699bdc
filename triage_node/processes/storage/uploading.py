"""The ingest role's way to the shared store: what this host received goes up, and stays in the spool until it is confirmed.

DESIGN. Rows say what is to be uploaded (store/uploads.py), so a kill at any instant costs nothing: at the start the spool is looked
through, and what is not confirmed is uploaded (again: the same bytes under the same key). Reception neither waits for this nor knows
of it; while the store is away the spool fills, and the watermark of the disk answers 0xA700 in the end. Only this host can upload
what lies in its spool, so nobody else is asked to.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial

from triage_node.blobs.places import Blobs
from triage_node.domain.errors import BlobDamaged, BlobMissing, BlobsAway, StoreError
from triage_node.domain.instance import ReceivedInstance
from triage_node.instances.archive import Archive
from triage_node.processes.operations.names import IMAGE_STORE
from triage_node.processes.running import now
from triage_node.store import instances, outbox, uploads
from triage_node.store.engine import Store
from triage_node.store.uploads import Upload

log = logging.getLogger(__name__)

AT_ONCE = 4
BATCH = 64
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
TRIM_EVERY = timedelta(minutes=1)
TELL_EVERY = timedelta(seconds=30)


class Uploader:
    """One thread that takes what `record_batch` wrote; `start` looks through the spool first."""

    def __init__(self, store: Store, blobs: Blobs, spool: Archive) -> None:
        self._store, self._blobs, self._spool = store, blobs, spool
        self._waiting: dict[str, None] = {}  # in order, each once
        self._lock = threading.Lock()
        self._some, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="upload", daemon=True)
        self._trimmed_at = self._told_at = datetime.min.replace(tzinfo=now().tzinfo)
        self._failed = True  # what a process before us told of is taken back by the first success

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """What is left goes up at the next start."""
        self._stop.set()
        self._some.set()
        self._thread.join(seconds)

    def record_batch(self, batch: Sequence[ReceivedInstance]) -> None:
        """Rows for received instances, as `store.instances` writes them; then their bytes go up."""
        instances.record_batch(self._store, batch, Upload.DUE)
        self._add(i.sha256 for i in batch)

    def _add(self, digests: Iterable[str]) -> None:
        with self._lock:
            self._waiting.update(dict.fromkeys(digests))
        self._some.set()

    def _run(self) -> None:
        pause, looked_through = FIRST_PAUSE_S, False
        with ThreadPoolExecutor(AT_ONCE, "upload") as pool:
            while not self._stop.is_set():
                try:
                    if not looked_through:
                        self._look_through()
                        looked_through = True
                    self._upload_some(pool)
                    self._trim()
                    pause = FIRST_PAUSE_S
                except Exception as error:  # nobody else would upload what lies here
                    is_known = isinstance(error, BlobsAway | StoreError)
                    trace = None if is_known else error
                    log.error("event=not_uploaded waiting=%d %s", len(self._waiting), error, exc_info=trace)
                    self._tell(str(error))
                    self._stop.wait(pause)
                    pause = min(2 * pause, LONGEST_PAUSE_S)
                    continue
                if not self._waiting:
                    self._some.wait(TRIM_EVERY.total_seconds())
                    self._some.clear()

    def _look_through(self) -> None:
        """What an earlier process did not finish, and what came before there was a shared store."""
        held = list(self._spool.digests())
        uploads.make_due(self._store, held)
        self._add(uploads.due(self._store, held))

    def _upload_some(self, pool: ThreadPoolExecutor) -> None:
        """One batch. Raises: BlobsAway, StoreError; what was confirmed before is recorded, the rest waits."""
        with self._lock:
            batch = list(self._waiting)[:BATCH]
        if not batch:
            return
        due = uploads.due(self._store, batch)
        became: dict[Upload, list[str]] = {Upload.DONE: [], Upload.LOST: []}
        away: list[BlobsAway] = []
        left = set()
        for sha256, outcome in zip(due, pool.map(partial(self._one, away), due), strict=True):
            if outcome is Upload.DUE:
                left.add(sha256)
            else:
                became[outcome].append(sha256)
        for outcome, digests in became.items():
            for erased in uploads.record(self._store, digests, outcome) if digests else ():
                self._blobs.received.remove(erased)
        with self._lock:
            for sha256 in set(batch) - left:
                self._waiting.pop(sha256, None)
        if away:
            raise away[0]
        if due and self._failed:
            self._tell("")

    def _one(self, away: list[BlobsAway], sha256: str) -> Upload:
        if away or self._stop.is_set():  # one failure is enough: whoever asks next waits as long
            return Upload.DUE
        try:
            self._blobs.received.upload(sha256)
        except BlobsAway as error:
            away.append(error)
            return Upload.DUE
        except (BlobMissing, BlobDamaged, OSError) as error:
            log.error("event=lost sha256=%s %s", sha256, error)
            instances.quarantine(self._store, sha256, f"lost before it was uploaded: {error}"[:300])
            return Upload.LOST
        return Upload.DONE

    def _trim(self) -> None:
        if now() - self._trimmed_at >= TRIM_EVERY:
            self._trimmed_at = now()
            removed = self._blobs.trim(lambda digests: uploads.safe(self._store, digests))
            if removed:
                log.info("event=trimmed copies=%d", removed)

    def _tell(self, failure: str) -> None:
        """The operations page and `check` say how it stands."""
        if failure and self._failed and now() - self._told_at < TELL_EVERY:
            return
        self._failed, self._told_at = bool(failure), now()
        try:
            outbox.record_peer(self._store, IMAGE_STORE, now(), failure[:300])
        except StoreError as error:
            log.error("event=not_told %s", error)
