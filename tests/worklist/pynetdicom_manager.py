"""A small UPS manager on pynetdicom, whose every answer a test may replace."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import UnifiedProcedureStepPull, UnifiedProcedureStepPush

from tests.worklist.ups_items import HeldItems, Item, first_items
from triage_node.config.worklist_peers import UpsPeerSettings
from triage_node.worklist.ups import UpsAdapter


class PynetdicomManager(HeldItems):
    def __init__(self) -> None:
        self.port = 0
        self.requests: list[str] = []
        self.sop_classes: set[str] = set()
        """Named in commands of N-requests."""
        self.instead: dict[str, Callable[[evt.Event], int | None]] = {}
        """Verb -> status that is answered instead; None: as ever."""
        self.stopped: Callable[[], None] = lambda: None
        self.runs = True
        self.adapter: UpsAdapter | None = None
        self.awake = threading.Event()
        self.reset()

    def reset(self, *items: Item) -> None:
        self.items = {i.uid: i for i in (items or first_items())}
        self.requests.clear()
        self.sop_classes.clear()
        self.instead.clear()
        self.knows_keys = True
        self.results = 1
        """How often each match is answered."""
        self.awake.set()

    def make(self, **more: Any) -> UpsAdapter:
        self.adapter = UpsAdapter(self.settings(**more))
        return self.adapter

    def settings(self, **more: Any) -> UpsPeerSettings:
        values = {"name": "ris", "host": "127.0.0.1", "port": self.port, "ae_title": "UPS", "timeout_s": 30.0}
        return UpsPeerSettings(**(values | more))

    # the verbs of the contract suite
    def become_slow(self) -> None:
        assert self.adapter is not None
        self.adapter.timeout_s = 1.0
        self.awake.clear()

    # what it answers
    def _asked(self, verb: str, event: evt.Event) -> int | None:
        self.requests.append(verb)
        self.awake.wait(60)
        if verb.startswith("N"):
            named = getattr(event.request, "RequestedSOPClassUID", None) or event.request.AffectedSOPClassUID
            self.sop_classes.add(str(named))
        return self.instead[verb](event) if verb in self.instead else None

    def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        instead = self._asked("C-FIND", event)
        if instead is not None:
            yield instead, None
            return
        keys = event.identifier.ReferencedRequestSequence[0]
        for item in list(self.items.values()):
            wanted = (keys.StudyInstanceUID or item.study, keys.AccessionNumber or item.accession)
            if not self.knows_keys or wanted == (item.study, item.accession):
                for _ in range(self.results):
                    yield 0xFF00, _answer(item)

    def get(self, event: evt.Event) -> tuple[int, Dataset | None]:
        instead = self._asked("N-GET", event)
        item = self.items.get(str(event.request.RequestedSOPInstanceUID))
        if instead is not None or item is None:
            return instead or 0xC307, None
        answer = _answer(item)
        del answer.SOPInstanceUID
        return 0x0000, answer

    def set(self, event: evt.Event) -> tuple[int, Dataset | None]:
        instead = self._asked("N-SET", event)
        if instead is not None:
            return instead, None
        item = self.items.get(str(event.request.RequestedSOPInstanceUID))
        if item is None:
            return 0xC307, None
        if item.state != "SCHEDULED":
            return (0xC301 if item.state == "IN PROGRESS" else 0xC300), None
        item.priority = event.modification_list.ScheduledProcedureStepPriority
        return 0x0000, Dataset()

    def create(self, event: evt.Event) -> tuple[int, Dataset | None]:
        instead = self._asked("N-CREATE", event)
        if instead is not None:
            return instead, None
        uid, given = str(event.request.AffectedSOPInstanceUID), event.attribute_list
        if uid in self.items:
            return 0x0111, None
        if given.ProcedureStepState != "SCHEDULED":
            return 0xC309, None
        request = given.ReferencedRequestSequence[0]
        self.items[uid] = Item(
            uid,
            str(request.StudyInstanceUID),
            str(request.AccessionNumber or ""),
            priority=given.ScheduledProcedureStepPriority,
            code=given.ScheduledWorkitemCodeSequence[0].CodeValue,
            created={"PatientName": str(given.PatientName), "PatientID": given.PatientID},
        )
        return 0x0000, Dataset()


@contextmanager
def pynetdicom_manager(
    tls: ssl.SSLContext | None = None,
    sop_classes: Sequence[str] = (UnifiedProcedureStepPull, UnifiedProcedureStepPush),
) -> Iterator[PynetdicomManager]:
    manager = PynetdicomManager()
    entity = AE(ae_title="UPS")
    entity.require_called_aet = True
    for sop_class in sop_classes:
        entity.add_supported_context(sop_class)
    server = entity.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[
            (evt.EVT_C_FIND, manager.find),
            (evt.EVT_N_GET, manager.get),
            (evt.EVT_N_SET, manager.set),
            (evt.EVT_N_CREATE, manager.create),
        ],
        ssl_context=tls,
    )
    manager.port = server.socket.getsockname()[1]
    manager.stopped = entity.shutdown
    try:
        yield manager
    finally:
        manager.awake.set()
        entity.shutdown()


def _answer(item: Item) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = item.code, "DCM", "Some work"
    request = Dataset()
    request.StudyInstanceUID, request.AccessionNumber = item.study, item.accession
    answer = Dataset()
    answer.SOPInstanceUID = item.uid
    answer.ProcedureStepState = item.state
    answer.ScheduledProcedureStepPriority = item.priority
    answer.ScheduledWorkitemCodeSequence = [code] if item.code else []
    answer.ReferencedRequestSequence = [request]
    return answer
