"""Every way out of the node at once, each with its counterpart behind a door (tests.support.door)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.delivery.files import built, write
from tests.delivery.peers import receiver
from tests.delivery.services import webhook
from tests.delivery.web_archive import web_archive
from tests.support.deciding import Site
from tests.support.door import Door, Trouble
from tests.support.ris import ris
from tests.support.store_place import keep_built
from tests.worklist.adapter_contract import KNOWN
from tests.worklist.fhir_server import fhir_server
from tests.worklist.http_manager import http_manager
from tests.worklist.pynetdicom_manager import pynetdicom_manager
from triage_node.config.contacts import ContactSettings
from triage_node.config.schema import ArchiveSettings
from triage_node.config.section import Section
from triage_node.config.worklist_peers import FhirPeerSettings, Hl7PeerSettings, UpsPeerSettings, UpsRsPeerSettings
from triage_node.domain.delivery import OUTBOX_FINAL
from triage_node.processes import delivery
from triage_node.processes.running import Running, now
from triage_node.store import outbox, results

ARCHIVES = ("C-STORE", "STOW-RS")
NAMES = ("UPS", "UPS-RS", "HL7 result", "HL7 order", "FHIR", "notice", *ARCHIVES)


@dataclass
class Way:
    """`took`: how often the counterpart has done what the node wants; the same object twice is one object to an archive."""

    name: str
    took: Callable[[], int]
    door: Door
    settings: Section

    def tries(self, site: Site) -> int:
        return sum(r.tries for r in self._rows(site))

    def is_done(self, site: Site) -> bool:
        if self.name in ARCHIVES:
            return all(r.state in OUTBOX_FINAL for r in self._rows(site))
        return all(r.final_at is not None for r in self._rows(site))

    def _rows(self, site: Site) -> Sequence[Any]:
        rows = outbox.of_study(site.store, KNOWN) if self.name in ARCHIVES else site.told(KNOWN)
        return [r for r in rows if r.peer == self.name]


@contextmanager
def every_way(folder: Path, trouble: Trouble, timeout_s: float) -> Iterator[dict[str, Way]]:
    """The doors are shut."""
    found: dict[str, Way] = {}
    here: dict[str, Any] = {"host": "127.0.0.1", "timeout_s": timeout_s}
    patience = {"connect_timeout_s": timeout_s, "response_timeout_s": timeout_s, "clinical": False}

    def add(name: str, target: int, took: Callable[[], int], settings: Callable[[int], Section]) -> None:
        door = Door(target, took, trouble)
        stack.callback(door.close)
        found[name] = Way(name, took, door, settings(door.port))

    with ExitStack() as stack:
        ups = stack.enter_context(pynetdicom_manager())
        changes: list[str] = []
        ups.instead["N-SET"] = lambda _: changes.append("N-SET")
        add(
            "UPS", ups.port, lambda: len(changes), lambda p: UpsPeerSettings(name="UPS", port=p, ae_title="UPS", **here)
        )

        rs = stack.enter_context(http_manager())
        updates: list[str] = []
        rs.instead["update"] = lambda _: bool(updates.append("update"))
        add(
            "UPS-RS", rs.port, lambda: len(updates),
            lambda p: UpsRsPeerSettings(name="UPS-RS", url=f"http://127.0.0.1:{p}/dicom-web", timeout_s=timeout_s),
        )  # fmt: skip

        results_taken = stack.enter_context(ris())
        add(
            "HL7 result", results_taken.port, lambda: results_taken.effects["ORU^R01"],
            lambda p: Hl7PeerSettings(name="HL7 result", port=p, **here),
        )  # fmt: skip

        orders_taken = stack.enter_context(ris())
        add(
            "HL7 order", orders_taken.port, lambda: orders_taken.effects["ORM^O01"],
            lambda p: Hl7PeerSettings(name="HL7 order", port=p, order_update="ORM", **here),
        )  # fmt: skip

        his = stack.enter_context(fhir_server())
        add(
            "FHIR", his.port, lambda: len(his.store["ServiceRequest/o1"]) - 1,
            lambda p: FhirPeerSettings(name="FHIR", url=f"http://127.0.0.1:{p}/fhir", timeout_s=timeout_s),
        )  # fmt: skip

        hook = stack.enter_context(webhook())

        def contact(port: int) -> ContactSettings:
            file = folder / "contact.url"
            # apprise's own four seconds would end a call before the others have met their trouble
            file.write_text(f"json://127.0.0.1:{port}?rto=300&cto=300")
            return ContactSettings(name="notice", url_file=file, timeout_s=timeout_s)

        add("notice", hook.port, lambda: len(hook.bodies), contact)

        pacs = stack.enter_context(receiver())
        add(
            "C-STORE", pacs.port, lambda: _objects(pacs.received),
            lambda p: ArchiveSettings(name="C-STORE", ae_title="PACS", host="127.0.0.1", port=p, **patience),
        )  # fmt: skip

        web = stack.enter_context(web_archive())
        add(
            "STOW-RS", web.port, lambda: _objects(web.received),
            lambda p: ArchiveSettings(name="STOW-RS", stow_url=f"http://127.0.0.1:{p}/dicom-web", **patience),
        )  # fmt: skip
        assert tuple(found) == (*NAMES[:6], *ARCHIVES)
        yield found


def _objects(received: dict[str, list[bytes]]) -> int:
    return len({(uid, data) for uid, copies in received.items() for data in copies})


def decided(folder: Path, ways: dict[str, Way], *others: Section, studies: Sequence[str] = (KNOWN,)) -> Site:
    """A site that knows these ways and has decided on the first of the studies, with an object for each archive and study."""
    site = Site(folder / "site", [*(w.settings for w in ways.values()), *others])
    site.arrive(*studies)
    site.decide(studies[0])
    file = write(folder, 1)
    made = built(file)
    keep_built(site.settings.store, file.path.read_bytes())
    objects = [
        replace(made, study_instance_uid=uid, sop_instance_uid=made.sop_instance_uid if n == 0 else f"{uid}.7")
        for n, uid in enumerate(studies)
    ]
    with site.store.write() as c:
        results.save_objects(c, objects, now())
        for name in ARCHIVES:
            outbox.put(c, name, objects, now())
    return site


@contextmanager
def delivering(site: Site, ways: dict[str, Way]) -> Iterator[None]:
    """The delivery role in a thread of its own. At the end the doors are shut, so that nothing waits for an answer."""
    running = Running("delivery", site.settings, site.store, threading.Event())
    role = threading.Thread(target=delivery.main, args=(running,))
    role.start()
    try:
        yield
    finally:
        running.stop.set()
        for way in ways.values():
            way.door.close()
        role.join(60)
        assert not role.is_alive()
