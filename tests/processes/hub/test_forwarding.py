"""A hub that is away, comes back, and is cut off in mid-study: it gets every byte as it was received, the urgent ones first."""

from __future__ import annotations

import hashlib
import ssl
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from tests.delivery.files import write
from tests.delivery.peers import receiver, settings_for
from tests.support.certificates import server_certificate
from tests.support.door import Door, Trouble
from tests.support.store_place import store_section
from tests.support.waiting import wait_until
from triage_node.config.schema import Settings
from triage_node.delivery.outgoing import Outgoing
from triage_node.domain.instance import InstanceHeader, ReceivedInstance
from triage_node.domain.priority import Flag, OrderClass, Urgency, WorklistRow
from triage_node.instances.archive import Archive
from triage_node.processes.hub.forwarding import Forwarding
from triage_node.processes.running import Running, now
from triage_node.store import forwarding, instances, meta, operations, studies, worklist
from triage_node.store.engine import Store, open_store
from triage_node.store.upgrade import upgrade

STUDIES = {"1.2.1": OrderClass.ROUTINE, "1.2.2": OrderClass.STAT, "1.2.3": OrderClass.ROUTINE}
FLAGGED = "1.2.3"


@pytest.fixture
def edge(tmp_path: Path) -> tuple[Settings, Store, dict[str, Outgoing]]:
    """A store with three closed studies of two instances each. Returns also what was received, by SOP Instance UID."""
    settings = Settings.model_validate({"store": store_section(tmp_path / "data")})
    settings.store.data_folder.mkdir()
    store = open_store(settings.database_url)
    upgrade(store)
    meta.set_simulation(store, True)
    kept: dict[str, Outgoing] = {}
    for s, (uid, order_class) in enumerate(STUDIES.items()):
        batch = []
        for file in (write(tmp_path, 2 * s), write(tmp_path, 2 * s + 1)):
            data = file.path.read_bytes()
            sha256 = hashlib.sha256(data).hexdigest()
            path = Archive(settings.store.data_folder).path(sha256)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            header = InstanceHeader(file.sop_instance_uid, file.sop_class_uid, uid, f"{uid}.1")
            syntax, at = "1.2.840.10008.1.2.1", now() - timedelta(minutes=9 - s)
            names = file.sop_instance_uid, file.sop_class_uid
            batch.append(ReceivedInstance(sha256, len(data), *names, syntax, at, header))
            kept[file.sop_instance_uid] = file
        instances.record_batch(store, batch)
        with store.write() as c:
            worklist.add_row(c, WorklistRow(uid, order_class, batch[0].received_at), "live")
            studies.close(c, uid, "released", False, now(), 2)
            if uid == FLAGGED:
                worklist.raise_flag(c, uid, Flag("ich", Urgency.CRITICAL, "words", now()))
    return settings, store, kept


def test_a_hub_that_was_away_and_is_cut_off_in_mid_study_gets_everything_the_flagged_study_first(edge, tmp_path):
    settings, store, kept = edge
    tls, hub_ca = server_certificate(tmp_path, "hub")
    _, own = server_certificate(tmp_path, "edge")
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(own)
    with receiver(tls=tls) as hub:
        line = Door(hub.port, took=lambda: len(hub.received) == 3, trouble=Trouble.LOST)
        files = {"tls_ca": hub_ca, "certificate": own, "private_key": own.with_suffix(".key")}
        archive = settings_for(
            line.port,
            name="hub",
            tls=True,
            received=True,
            kinds=(),
            **files,
            connect_timeout_s=30,
            response_timeout_s=30,
        )
        running = Running("delivery", settings, store, threading.Event())
        to_hub = Forwarding(running, archive)
        assert not to_hub.send_some()
        assert "no TCP connection" in operations.peers(store)["hub"].last_failure
        assert forwarding.waiting(store)[0] == 3
        thread = threading.Thread(target=to_hub.run)
        thread.start()
        try:
            line.open()
            wait_until(lambda: forwarding.waiting(store)[0] == 0, 60, "the hub has everything")
        finally:
            running.stop.set()
            thread.join()
            line.close()
    assert line.met.is_set()
    assert list(hub.received) == [*list(kept)[4:], *list(kept)[2:4], *list(kept)[:2]]
    for uid, data_sets in hub.received.items():
        assert {kept[uid].path.read_bytes().endswith(data) for data in data_sets} == {True}


def test_a_hub_that_rejects_our_title_for_a_while_gets_everything_when_it_knows_us(edge):
    settings, store, kept = edge
    running = Running("delivery", settings, store, threading.Event())
    with receiver(require_calling_aet=["SOMEBODY"]) as stranger:
        way = Forwarding(running, settings_for(stranger.port, name="hub", received=True, kinds=()))
        assert not way.send_some()
        assert not stranger.received
    assert forwarding.waiting(store)[0] == len(STUDIES)
    assert "Calling AE title not recognised" in operations.peers(store)["hub"].last_failure
    with receiver() as hub:
        way = Forwarding(running, settings_for(hub.port, name="hub", received=True, kinds=()))
        while way.send_some():
            pass
        assert len(hub.received) == len(kept)
