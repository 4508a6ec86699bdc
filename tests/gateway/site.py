"""The gateway role in a thread of the test, on a store of its own, and one client for each transport."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pynetdicom import AE
from pynetdicom.sop_class import (
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
    UnifiedProcedureStepWatch,
    Verification,
)

from tests.support.pacs import free_port
from tests.support.store_place import store_line
from tests.support.waiting import wait_until
from triage_node.config.load import load
from triage_node.domain.instance import InstanceHeader, ReceivedInstance
from triage_node.domain.priority import Flag, OrderClass, ReadingState, Urgency, WorklistRow
from triage_node.processes import gateway
from triage_node.processes.running import Running, now
from triage_node.store import instances, meta, worklist
from triage_node.store.engine import open_store
from triage_node.store.schema import metadata
from triage_node.store.upgrade import upgrade
from triage_node.workitems.plain import from_json, to_json
from triage_node.workitems.status import WORDS, Status

CT = "1.2.840.10008.5.1.4.1.1.2"
WATCHER, LISTENER = "WATCH1", "WATCH2"
"""Told over DIMSE, and over the WebSocket."""


class Site:
    """`gateway`: more of that section. `ca`: the file of the CA to verify it with, where it speaks TLS; `token`: for UPS-RS."""

    def __init__(
        self, folder: Path, mode: str = "active", gateway: str = "", ca: Path | None = None, token: str = ""
    ) -> None:
        self.verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=ca) if ca is not None else True
        self.scheme = "http" if ca is None else "https"
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.ups_port, self.rs_port, self.watcher_port = free_port(), free_port(), free_port()
        (folder / "data").mkdir(parents=True)
        self.config = folder / "node.toml"
        self.config.write_text(
            f"""
            {store_line(folder / "data", is_upgraded=True, warn_free_gb=0.2, stop_free_gb=0.1)}
            worklist = {{ mode = "{mode}" }}
            [gateway]
            ups_port = {self.ups_port}
            rs_port = {self.rs_port}
            {gateway}
            [[gateway.clients]]
            ae_title = "READ1"
            [[gateway.clients]]
            ae_title = "READ2"
            [[gateway.subscribers]]
            ae_title = "{WATCHER}"
            host = "127.0.0.1"
            port = {self.watcher_port}
            timeout_s = 20
            [[gateway.subscribers]]
            ae_title = "{LISTENER}"
            """
        )
        self.settings = load(self.config)[0]
        self.store = open_store(self.settings.database_url)
        upgrade(self.store)
        meta.set_simulation(self.store, True)
        self._stop, self._thread = threading.Event(), threading.Thread()

    def start(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=gateway.main, args=[Running("gateway", self.settings, self.store, self._stop)], daemon=True
        )
        self._thread.start()
        wait_until(self._answers, 30, "the gateway to answer")

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def clear(self) -> None:
        """No study, no item, no subscription; the audit trail lets nobody take anything out."""
        with self.store.write() as c:
            for table in reversed(metadata.sorted_tables):
                if table.name not in ("meta", "policy") and not table.name.startswith("audit"):
                    c.execute(table.delete())
            meta.touch_list(c)

    def arrive(self, uid: str, order_class: OrderClass = OrderClass.ROUTINE, slices: int = 2, **header: Any) -> None:
        """A study that came two minutes ago and waits on the list."""
        told = {"patient_id": "P77", "patient_name": "DOE^JANE", "accession_number": "A1"} | header
        batch = [
            ReceivedInstance(
                hashlib.sha256(f"{uid}-{k}".encode()).hexdigest(), 1, f"{uid}.1.{k}", CT, "1.2.840.10008.1.2.1", now(),
                InstanceHeader(f"{uid}.1.{k}", CT, uid, f"{uid}.1", **told), calling_ae_title="CT1",
            )
            for k in range(1, slices + 1)
        ]  # fmt: skip
        instances.record_batch(self.store, batch)
        with self.store.write() as c:
            worklist.add_row(c, WorklistRow(uid, order_class, now() - timedelta(minutes=2)), "acquired now")

    def flag(self, uid: str, urgency: Urgency = Urgency.CRITICAL, at: datetime | None = None) -> None:
        with self.store.write() as c:
            worklist.raise_flag(c, uid, Flag("ich", urgency, "Suspected IPH, 34 mL", at or now()))

    def set_reading(self, uid: str, state: ReadingState, by: str = "dr.page") -> None:
        with self.store.write() as c:
            worklist.set_reading_state(c, uid, state, now(), by, by)

    def row(self, uid: str) -> WorklistRow | None:
        found = worklist.row_of(self.store, uid)
        return found.row if found is not None else None

    @property
    def rs(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.rs_port}"

    def get(self, path: str = "/workitems", **more: Any) -> httpx.Response:
        return httpx.get(f"{self.rs}{path}", timeout=30, **({"verify": self.verify, "headers": self.headers} | more))

    def _answers(self) -> bool:
        try:
            return self.get().status_code in (200, 204)
        except httpx.HTTPError:
            return False


def keys(**values: Any) -> Dataset:
    """C-FIND keys by keyword; a dictionary is the one item of a sequence."""
    found = Dataset()
    for keyword, value in values.items():
        setattr(found, keyword, Sequence([keys(**value)]) if isinstance(value, dict) else value)
    return found


def of_study(uid: str) -> Dataset:
    return keys(ReferencedRequestSequence={"StudyInstanceUID": uid}, ProcedureStepState="", ScheduledProcedureStepPriority="")  # fmt: skip


def performed() -> Dataset:
    """What a reader tells before it completes."""
    code = {"CodeValue": "110005", "CodingSchemeDesignator": "DCM", "CodeMeaning": "Interpretation"}
    step = {
        "PerformedStationNameCodeSequence": code,
        "PerformedWorkitemCodeSequence": code,
        "PerformedProcedureStepStartDateTime": "20261121100000",
        "PerformedProcedureStepEndDateTime": "20261121101000",
        "OutputInformationSequence": {"TypeOfInstances": "DICOM"},
    }
    return keys(UnifiedProcedureStepPerformedProcedureSequence=step)


class DimseClient:
    """A reading workstation: every command names UPS Push, the contexts are of the other classes."""

    def __init__(self, site: Site, ae_title: str = "READ1", contexts: Any = None) -> None:
        ae = AE(ae_title)
        for uid in contexts or (UnifiedProcedureStepPull, UnifiedProcedureStepWatch, Verification):
            ae.add_requested_context(uid)
        tls = (site.verify, "127.0.0.1") if isinstance(site.verify, ssl.SSLContext) else None
        self.association = ae.associate("127.0.0.1", site.ups_port, tls_args=tls)

    def close(self) -> None:
        if self.association.is_established:
            self.association.release()

    def find(self, wanted: Dataset) -> list[Dataset]:
        answers = list(self.association.send_c_find(wanted, UnifiedProcedureStepPull))
        assert answers[-1][0].Status == 0, hex(answers[-1][0].Status)
        return [found for _, found in answers[:-1]]

    def get(self, uid: str) -> tuple[Status, Dataset | None]:
        answer, found = self.association.send_n_get(
            [], UnifiedProcedureStepPush, uid, meta_uid=UnifiedProcedureStepPull
        )
        return Status(answer.Status), found

    def update(self, uid: str, data: Dataset) -> Status:
        answer, _ = self.association.send_n_set(data, UnifiedProcedureStepPush, uid, meta_uid=UnifiedProcedureStepPull)
        return Status(answer.Status)

    def change_state(self, uid: str, state: str, transaction_uid: str = "") -> Status:
        data = keys(ProcedureStepState=state)
        if transaction_uid:
            data.TransactionUID = transaction_uid
        return self._act(1, uid, data)

    def cancel(self, uid: str, reason: str = "") -> Status:
        return self._act(2, uid, keys(ReasonForCancellation=reason, ContactDisplayName="Dr. Ask"))

    def subscribe(self, uid: str, ae_title: str, lock: bool = False, **filter_keys: str) -> Status:
        lock_text = "TRUE" if lock else "FALSE"
        return self._act(3, uid, keys(ReceivingAE=ae_title, DeletionLock=lock_text, **filter_keys))

    def unsubscribe(self, uid: str, ae_title: str) -> Status:
        return self._act(4, uid, keys(ReceivingAE=ae_title))

    def suspend(self, uid: str, ae_title: str) -> Status:
        return self._act(5, uid, keys(ReceivingAE=ae_title))

    def create(self, uid: str, data: Dataset) -> Status:
        answer, _ = self.association.send_n_create(
            data, UnifiedProcedureStepPush, uid, meta_uid=UnifiedProcedureStepPull
        )
        return Status(answer.Status)

    def _act(self, action: int, uid: str, data: Dataset) -> Status:
        answer, _ = self.association.send_n_action(
            data, action, UnifiedProcedureStepPush, uid, meta_uid=UnifiedProcedureStepPull
        )
        return Status(answer.Status)


class RsClient:
    """The same over DICOMweb. The status is told in words, in the Warning header."""

    def __init__(self, site: Site) -> None:
        self._http = httpx.Client(base_url=site.rs, timeout=30, verify=site.verify, headers=site.headers)
        self.last: httpx.Response | None = None

    def close(self) -> None:
        self._http.close()

    def find(self, wanted: Dataset) -> list[Dataset]:
        answer = self._http.get("/workitems", params=_parameters(wanted, ""))
        assert answer.status_code in (200, 204), answer.headers
        if answer.status_code == 204:
            return []
        assert answer.headers["content-type"] == "application/dicom+json"
        return [from_json(d) for d in answer.json()]

    def get(self, uid: str) -> tuple[Status, Dataset | None]:
        answer = self._http.get(f"/workitems/{uid}")
        found = from_json(answer.json()[0]) if answer.status_code == 200 else None
        return self._status(answer), found

    def update(self, uid: str, data: Dataset) -> Status:
        return self._send("POST", f"/workitems/{uid}", data)

    def change_state(self, uid: str, state: str, transaction_uid: str = "") -> Status:
        data = keys(ProcedureStepState=state)
        if transaction_uid:
            data.TransactionUID = transaction_uid
        return self._send("PUT", f"/workitems/{uid}/state", data)

    def cancel(self, uid: str, reason: str = "") -> Status:
        data = keys(ReasonForCancellation=reason, ContactDisplayName="Dr. Ask")
        return self._send("POST", f"/workitems/{uid}/cancelrequest", data)

    def subscribe(self, uid: str, ae_title: str, lock: bool = False, **filter_keys: str) -> Status:
        parameters: dict[str, Any] = {"deletionlock": str(lock).lower()}
        if filter_keys:
            parameters["filter"] = ",".join(f"{k}={v}" for k, v in filter_keys.items())
        return self._status(self._http.post(f"/workitems/{uid}/subscribers/{ae_title}", params=parameters))

    def unsubscribe(self, uid: str, ae_title: str) -> Status:
        return self._status(self._http.delete(f"/workitems/{uid}/subscribers/{ae_title}"))

    def suspend(self, uid: str, ae_title: str) -> Status:
        return self._status(self._http.post(f"/workitems/{uid}/subscribers/{ae_title}/suspend"))

    def create(self, uid: str, data: Dataset) -> Status:
        return self._send("POST", f"/workitems?{uid}", data)

    def _send(self, method: str, path: str, data: Dataset) -> Status:
        body = json.dumps([to_json(data)])
        headers = {"content-type": "application/dicom+json"}
        return self._status(self._http.request(method, path, content=body, headers=headers))

    def _status(self, answer: httpx.Response) -> Status:
        self.last = answer
        if "warning" not in answer.headers:
            assert answer.is_success, answer
            return Status.SUCCESS
        words = answer.headers["warning"].partition(": ")[2]
        status = next(s for s, w in WORDS.items() if w == words)
        assert answer.is_success == (not status.is_failure)
        return status


Client = DimseClient | RsClient


def _parameters(wanted: Dataset, path: str) -> list[tuple[str, str]]:
    found = []
    for element in wanted:
        name = path + element.keyword
        if element.VR == "SQ":
            for part in element.value:
                found += _parameters(part, f"{name}.")
            if not element.value:
                found.append(("includefield", name))
        elif element.value in ("", None):
            found.append(("includefield", name))
        else:
            text = ",".join(map(str, element.value)) if isinstance(element.value, MultiValue) else str(element.value)
            found.append((name, text))
    return found


@contextmanager
def running(folder: Path, mode: str = "active", **more: Any) -> Iterator[Site]:
    site = Site(folder, mode, **more)
    site.start()
    try:
        yield site
    finally:
        site.stop()
        site.store.close()
