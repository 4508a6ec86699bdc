"""An archive that remembers every C-STORE that it got, and hangs on command."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, defaultdict
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts
from pynetdicom.sop_class import Verification

LONGEST_S = 600.0


class ArchivePeer:
    """`bytes_of`: SOP instance -> digests of the data sets that came under it; `times`: how often it came.

    `at_once`: instances that two associations were sending at the same time.
    """

    def __init__(self, host: str, port: int) -> None:
        self.bytes_of: dict[str, set[str]] = defaultdict(set)
        self.study_of: dict[str, str] = {}
        self.times: Counter[str] = Counter()
        self.at_once: list[str] = []
        self.arrived = threading.Event()
        """Something is being sent; cleared by whoever waits."""
        self._may_answer = threading.Event()
        self._may_answer.set()
        self._coming: set[str] = set()
        self._lock = threading.Lock()
        ae = AE("PACS")
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax, ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"])
        ae.add_supported_context(Verification)
        ae.network_timeout = LONGEST_S
        self._server = ae.start_server((host, port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])

    def hang(self) -> None:
        self._may_answer.clear()

    def answer(self) -> None:
        self._may_answer.set()

    def instances_of(self, study_instance_uid: str) -> set[str]:
        return {uid for uid, study in self.study_of.items() if study == study_instance_uid}

    def close(self) -> None:
        self.answer()
        self._server.shutdown()

    def _store(self, event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        data = event.encoded_dataset(include_meta=False)
        with self._lock:
            if uid in self._coming:
                self.at_once.append(uid)
            self._coming.add(uid)
            self.bytes_of[uid].add(hashlib.sha256(data).hexdigest())
            self.times[uid] += 1
            self.study_of[uid] = str(event.dataset.StudyInstanceUID)
        self.arrived.set()
        while not self._may_answer.wait(0.05) and event.assoc.is_established:
            pass  # it hangs; whoever hung up is sending no more
        with self._lock:
            self._coming.discard(uid)
        return 0x0000
