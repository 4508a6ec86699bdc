"""A modality that does what modalities do: it sends again what was not answered, until all of it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage

from tests.support.waiting import wait_until

EXPLICIT = "1.2.840.10008.1.2.1"


class StubbornSender:
    """`answered`: files that got 0x0000, in that order; `on_answer` is told each number once, by the association's own thread.

    Set `pynetdicom._config.STORE_SEND_CHUNKED_DATASET`, so that the files' own bytes go out.
    """

    def __init__(
        self,
        host: str,
        port: int,
        called: str,
        on_answer: Callable[[int], None] = lambda count: None,
        timeout_s: float = 60.0,
    ) -> None:
        self._where, self._called, self._on_answer, self._timeout_s = (host, port), called, on_answer, timeout_s
        self.answered: list[Path] = []
        self._lock = threading.Lock()

    def send(self, files: Sequence[Path], associations: int = 1) -> None:
        """Every n-th file over each of n associations at a time. Returns when all are answered."""
        parts = [list(files[k::associations]) for k in range(associations)]
        threads = [threading.Thread(target=self._send_part, args=(part,)) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not any(parts), f"{sum(map(len, parts))} of {len(files)} instances were never answered"

    def _send_part(self, left: list[Path]) -> None:
        def all_answered() -> bool:
            self._send_until_lost(left)
            return not left

        wait_until(all_answered, 300, f"all of {len(left)} instances are answered")

    def _send_until_lost(self, left: list[Path]) -> None:
        ae = AE("MODALITY")
        ae.connection_timeout = 5
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = self._timeout_s
        ae.add_requested_context(CTImageStorage, EXPLICIT)
        association = ae.associate(*self._where, ae_title=self._called)
        while association.is_established and left:
            try:
                status = association.send_c_store(left[0])
            except (RuntimeError, ValueError):  # it went while the request was made
                break
            if status.get("Status") != 0x0000:
                break
            with self._lock:
                self.answered.append(left.pop(0))
                count = len(self.answered)
            self._on_answer(count)
        if association.is_established:
            association.release()
