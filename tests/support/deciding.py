"""A store with live studies, and decisions as the analysis role commits them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.support.store_place import store_line
from triage_node.config.contacts import ContactSettings
from triage_node.config.load import load
from triage_node.config.schema import ArchiveSettings, Settings
from triage_node.config.section import Section
from triage_node.config.worklist_peers import FhirPeerSettings, Hl7PeerSettings, UpsPeerSettings, UpsRsPeerSettings
from triage_node.domain.finding import BundleIdentity, EvidenceLevel, FindingDecision, OperatingPoint
from triage_node.domain.instance import InstanceHeader, ReceivedInstance
from triage_node.domain.message import MessageRow
from triage_node.domain.priority import Flag, ListPolicy, Mode, OrderClass, Urgency, WorklistRow
from triage_node.processes.decision import commit_decision
from triage_node.processes.running import now
from triage_node.processes.telling import Teller
from triage_node.store import instances, messages, meta, policy, studies, worklist
from triage_node.store.engine import Store, open_store
from triage_node.store.results import ResultRecord, latest
from triage_node.store.upgrade import upgrade
from triage_node.worklist.repeat import Repeat

DIGEST = "b" * 64
_TABLES: dict[type[Section], str] = {
    UpsPeerSettings: "ups_peers",
    UpsRsPeerSettings: "ups_rs_peers",
    Hl7PeerSettings: "hl7_peers",
    FhirPeerSettings: "fhir_peers",
    ContactSettings: "contacts",
    ArchiveSettings: "archives",
}
ACTIVE, OBSERVE = ListPolicy(mode=Mode.ACTIVE), ListPolicy(mode=Mode.OBSERVE)
E0, E1, E2, E3 = EvidenceLevel


class Site:
    """A node's data folder without its roles. `peers` are settings of worklist peers, contacts and archives."""

    def __init__(
        self, folder: Path, peers: Sequence[Section] = (), simulation: bool = True, mode: str = "active"
    ) -> None:
        self.folder, self.config, self.simulation = folder, folder / "node.toml", simulation
        (folder / "data").mkdir(parents=True, exist_ok=True)
        lines = [
            store_line(folder / "data", is_upgraded=True, warn_free_gb=0.2, stop_free_gb=0.1),
            f"worklist = {{ mode = {json.dumps(mode)} }}",
            "web = { study_link = 'https://viewer.example/{study_instance_uid}' }",
        ]
        for peer in peers:
            lines.append(f"[[{_TABLES[type(peer)]}]]")
            said = peer.model_dump(exclude_unset=True, mode="json")
            lines += [f"{key} = {json.dumps(value)}" for key, value in said.items()]
        self.config.write_text("\n".join(lines))
        self.settings: Settings = load(self.config)[0]
        self.store: Store = open_store(self.settings.database_url)
        upgrade(self.store)
        meta.set_simulation(self.store, simulation)
        policy.add(self.store, [OperatingPoint("ich", 0.3, 0.6, 0)], "test", "first", now())

    def arrive(self, *uids: str, live: bool = True, **header: Any) -> None:
        """Studies of one instance each, on the list. `header`: identity and accession number."""
        received = [
            ReceivedInstance(
                hashlib.sha256(uid.encode()).hexdigest(),
                1,
                f"{uid}.1.1",
                "1.2.840.10008.5.1.4.1.1.2",
                "1.2.840.10008.1.2.1",
                now(),
                InstanceHeader(
                    f"{uid}.1.1",
                    "1.2.840.10008.5.1.4.1.1.2",
                    uid,
                    f"{uid}.1",
                    **({"patient_id": "P77", "patient_name": "DOE^JANE", "accession_number": "A1"} | header),
                ),
            )
            for uid in uids
        ]
        instances.record_batch(self.store, received)
        with self.store.write() as c:
            for uid in uids:
                at = now() - timedelta(minutes=2)
                worklist.add_row(c, WorklistRow(uid, OrderClass.ROUTINE, at, live=live), "acquired now")
                studies.close(c, uid, "released", False, now(), 1)

    def decide(
        self,
        uid: str,
        urgency: Urgency | None = Urgency.HIGH,
        level: EvidenceLevel = E0,
        list_policy: ListPolicy = ACTIVE,
        teller: Teller | None = None,
        apart: bool = False,
        probability: float = 0.9,
        repeat: Repeat | None = None,
    ) -> None:
        """Commit a decision of the next revision; no urgency: not flagged."""
        at, held = now(), latest(self.store, uid)
        bundle = BundleIdentity("bloodnet", "1", DIGEST, "cpu", {"ich": level})
        p = probability if urgency else 0.1
        point = OperatingPoint("ich", 0.3, 0.6, 1)
        decision = FindingDecision(urgency is not None, "ich", p, point, 34.0, (), (), bundle, level)
        record = ResultRecord(
            study_instance_uid=uid,
            revision=held.revision + 1 if held else 1,
            created_at=at,
            input_digest="i" * 64,
            bundle_name="bloodnet",
            bundle_version="1",
            bundle_digest=DIGEST,
            runtime="cpu",
            policy_version=1,
            config_digest="c" * 64,
            probability=p,
            hematoma_volume_ml=34.0,
            flagged=urgency is not None,
        )
        flag = Flag("ich", urgency, "Suspected ICH, 34 mL, likely", at) if urgency else None
        teller = teller or Teller(self.settings, self.simulation)
        commit_decision(self.store, record, decision, flag, list_policy, at, apart, "", teller, repeat)

    def told(self, uid: str) -> list[MessageRow]:
        return messages.of_study(self.store, uid)
