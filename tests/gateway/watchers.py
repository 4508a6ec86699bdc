"""Subscribers that hear events: one over DIMSE, one over the WebSocket."""

from __future__ import annotations

import json
import threading
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import UnifiedProcedureStepEvent
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.gateway.site import LISTENER, WATCHER, Site
from tests.support.waiting import wait_until
from triage_node.workitems.plain import from_json

Heard = tuple[int, str, Dataset]
"""Event type, workitem, what it says."""


class _Watcher:
    """`heard`: of workitems; `restarts`: of the manager, which tells everybody at each of its starts."""

    ae_title = ""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.restarts: list[Heard] = []

    def hear(self, kind: int, of: str, body: Dataset) -> None:
        (self.restarts if kind == 4 else self.heard).append((kind, of, body))

    def states(self, uid: str) -> list[tuple[str, str]]:
        """(state, priority) of each state report of one item."""
        reports = [body for kind, of, body in self.heard if kind == 1 and of == uid]
        return [(r.ProcedureStepState, r.ScheduledProcedureStepPriority) for r in reports]

    def wait(self, count: int) -> list[Heard]:
        wait_until(lambda: len(self.heard) >= count, 30, f"{count} events, heard {len(self.heard)}")
        return self.heard

    def open(self) -> None: ...

    def close(self) -> None: ...


class DimseWatcher(_Watcher):
    ae_title = WATCHER

    def __init__(self, site: Site) -> None:
        super().__init__()
        self._port = site.watcher_port
        self._server: Any = None
        self.open()

    def open(self) -> None:
        ae = AE(self.ae_title)
        ae.add_supported_context(UnifiedProcedureStepEvent, scu_role=True, scp_role=True)
        handlers = [(evt.EVT_N_EVENT_REPORT, self._hear)]
        self._server = ae.start_server(("127.0.0.1", self._port), block=False, evt_handlers=handlers)

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _hear(self, event: evt.Event) -> tuple[int, None]:
        request = event.request
        self.hear(event.event_type, str(request.AffectedSOPInstanceUID), event.event_information)
        return 0, None


class SocketWatcher(_Watcher):
    ae_title = LISTENER

    def __init__(self, site: Site) -> None:
        super().__init__()
        self._url = f"ws://127.0.0.1:{site.rs_port}/ws/subscribers/{self.ae_title}"
        self._socket: Any = None
        self.open()

    def open(self) -> None:
        self._socket = connect(self._url, open_timeout=30)
        threading.Thread(target=self._listen, args=[self._socket], daemon=True).start()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _listen(self, socket: Any) -> None:
        try:
            for text in socket:
                said = json.loads(text)
                body = from_json({k: v for k, v in said.items() if not k.startswith("0000")})
                self.hear(said["00001002"]["Value"][0], said["00001000"]["Value"][0], body)
        except ConnectionClosed:
            return
