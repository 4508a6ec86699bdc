"""A site on several hosts: two of every role, one database, one folder for bytes, one archive, one balancer.

    modality ─▶ balancer (HAProxy) ─▶ in1, in2          database    an1, an2    sc1, sc2    de1, de2 ─▶ pacs

The tests run on the host `modality`. A store of simulated patients talks to peers on loopback only, so each delivery host
has a relay of its own there (HAProxy too) that leads to the archive.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Table, select

from tests.hosts.analysis_role import SHORT, SLOW_S
from tests.hosts.archive_peer import ArchivePeer
from tests.support.netns import NETWORK, Host, Network, network, wait_for_port
from tests.support.node import toml
from tests.support.pacs import ENVIRONMENT, PostgresServer, program
from tests.support.stubborn import StubbornSender
from tests.support.waiting import wait_until
from triage_node.cli.setup import initialise
from triage_node.config.load import load
from triage_node.domain.errors import StoreError
from triage_node.domain.study import StudyState
from triage_node.store import heartbeat, studies, worklist
from triage_node.store.engine import Store, open_store
from triage_node.store.schema import association

REPOSITORY = Path(__file__).resolve().parents[2]
AE_TITLE, DICOM_PORT, ARCHIVE_PORT, RELAY_PORT = "TRIAGE", 11112, 11113, 11114
HOSTS = {
    "in1": "ingest", "in2": "ingest", "an1": "analysis", "an2": "analysis",
    "sc1": "scheduler", "sc2": "scheduler", "de1": "delivery", "de2": "delivery",
}  # fmt: skip
_RELAY = """
defaults
  mode tcp
  timeout connect 3s
  timeout client 120s
  timeout server 120s
listen archive
  bind 127.0.0.1:{relay}
  server archive {address}:{port}
"""


class Cluster:
    """Made by `cluster`."""

    def __init__(self, folder: Path, on: Network, database: PostgresServer, short: bool, slow_s: float) -> None:
        self.folder, self.database, self.on = folder, database, on
        self._short, self._slow_s = short, slow_s
        self.config = folder / "node.toml"
        self.hosts: dict[str, Host] = {}
        self.archive: ArchivePeer
        self.store: Store

    def start(self, name: str) -> Host:
        """A host with its role; again after it was killed. Returns at once."""
        host, role = self.on.host(name), HOSTS[name]
        module = "tests.hosts.analysis_role" if role == "analysis" else f"triage_node.processes.{role}"
        command = [sys.executable, "-m", module, "--config", str(self.config)]
        environment = {**ENVIRONMENT, "PYTHONPATH": str(REPOSITORY), SLOW_S: str(self._slow_s)}
        if self._short:
            environment[SHORT] = "1"
        host.start(role, command, self.folder / f"{name}.log", environment, REPOSITORY)
        if role == "delivery":
            address = self.on.host("pacs").address
            relay = self.folder / "relay.cfg"
            relay.write_text(_RELAY.format(relay=RELAY_PORT, address=address, port=ARCHIVE_PORT))
            host.start(
                "relay",
                [program("haproxy"), "-f", str(relay), "-db"],
                self.folder / f"{name}.log",
                ENVIRONMENT,
                Path("/"),
            )
        self.hosts[name] = host
        return host

    def wait_until_up(self, *names: str) -> None:
        """The database has heard of them all."""

        def heard() -> bool:
            return all(name in heartbeat.hosts(self.store, HOSTS[name]) for name in names)

        self.wait(heard, 90, f"{', '.join(names)} gave a sign of life")

    def wait(self, condition: Callable[[], Any], seconds: float, what: str) -> Any:
        """As `wait_until`; while the database is away nothing is true."""

        def known() -> Any:
            try:
                return condition()
            except StoreError:
                return None

        try:
            return wait_until(known, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None

    def sender(self, on_answer: Callable[[int], None] = lambda count: None) -> StubbornSender:
        """A modality that calls the balancer."""
        return StubbornSender(self.on.host("balancer").address, DICOM_PORT, AE_TITLE, on_answer, timeout_s=30)

    def state(self, uid: str) -> str:
        record = studies.get(self.store, uid)
        return record.state.value if record is not None else ""

    def wait_for_state(self, uid: str, *states: StudyState, seconds: float = 120) -> None:
        self.wait(lambda: self.state(uid) in states, seconds, f"study {uid} is {' or '.join(states)}")

    def owner(self, table: Table, uid: str) -> str:
        """The host that has a study, or an object of it, at work; empty when none has."""
        held = select(table.c.lease_owner).where(table.c.study_instance_uid == uid, table.c.lease_owner != "").limit(1)
        with self.store.read() as c:
            owner: str = c.execute(held).scalar() or ""
        return owner.partition("@")[2].partition(":")[0]

    def receivers(self) -> set[str]:
        """The hosts that have served associations."""
        with self.store.read() as c:
            return set(c.execute(select(association.c.receiver)).scalars())

    def listed(self) -> list[worklist.ListedStudy]:
        return worklist.rows(self.store)

    def restart_database(self) -> None:
        """All its connections end."""
        with self.on.host("database").inside():
            self.database.stop()
            self.database.start()

    def logs(self, lines: int = 25) -> str:
        said = []
        for file in sorted(self.folder.glob("*.log")):
            said += [f"--- {file.name}", *file.read_text(errors="replace").splitlines()[-lines:]]
        return "\n".join(said)

    def _balancer(self) -> None:
        host = self.on.host("balancer")
        where = {"LISTEN": host.address, "FIRST": self.on.host("in1").address, "SECOND": self.on.host("in2").address}
        command = [program("haproxy"), "-f", str(REPOSITORY / "deploy" / "haproxy.cfg"), "-db"]
        host.start("balancer", command, self.folder / "balancer.log", {**os.environ, **where}, Path("/"))
        wait_for_port(host.address, DICOM_PORT, "the balancer listens")


@contextmanager
def cluster(folder: Path, short: bool, slow_s: float = 0.0, **sections: Any) -> Iterator[Cluster]:
    """Everything up. The caller's thread is on the host `modality` meanwhile."""
    with ExitStack() as until_the_end:
        on = until_the_end.enter_context(network())
        for name in ("modality", "database", "balancer", "pacs", *HOSTS):
            on.host(name)
        database = PostgresServer(folder, on.host("database").address, NETWORK)
        until_the_end.callback(database.remove)
        until_the_end.enter_context(on.host("modality").inside())
        made = Cluster(folder, on, database, short, slow_s)
        made.restart_database()
        made.config.write_text(_configuration(folder, database.url, sections))
        list(initialise(made.config, simulation=True))
        made.store = open_store(load(made.config)[0].database_url)
        until_the_end.callback(made.store.close)
        with on.host("pacs").inside():
            made.archive = ArchivePeer(on.host("pacs").address, ARCHIVE_PORT)
        until_the_end.callback(made.archive.close)
        for name in HOSTS:
            made.start(name)
        made.wait_until_up(*HOSTS)
        made._balancer()
        yield made


def _configuration(folder: Path, database_url: str, sections: Mapping[str, Any]) -> str:
    archive = {
        "name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": RELAY_PORT, "response_timeout_s": 10.0,
        "kinds": ["findings_sr", "seg", "summary_sc"],
    }  # fmt: skip
    senders = [{"ae_title": "*", "addresses": [NETWORK], "quiet_s": 1.5}]
    said: dict[str, Any] = {
        "store": {
            "database_url": database_url, "data_folder": str(folder / "shared"), "warn_free_gb": 0.2, "stop_free_gb": 0.1,
        },
        "listener": {
            "host": "0.0.0.0", "port": DICOM_PORT, "ae_title": AE_TITLE, "senders": senders,
            "maximum_associations_per_address": 64,
        },
        "completeness": {"deadline_s": 20.0},
        "worklist": {"mode": "active"},
        "operations": {"heartbeat_min": 0.0},
        "prognosis": {"bundles": []},
        "archives": [archive],
        **sections,
    }  # fmt: skip
    return "\n".join(f"{name} = {toml(value)}" for name, value in said.items()) + "\n"
