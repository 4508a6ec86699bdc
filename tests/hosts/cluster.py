"""A site on several hosts: two of every role, one database, one store of bytes, two archives, one balancer.

    modality ─▶ balancer (HAProxy) ─▶ in1, in2   an1, an2   sc1, sc2   de1, de2 ─▶ pacs, other
                                      gw1, gw2   we1, we2   database   objects

The tests run on the host `modality`. Every host has a data folder of its own; bytes lie for all in a folder, as on a shared
file system, or in an object store (SeaweedFS). A store of simulated patients talks to peers on loopback only, so each delivery host
has relays of its own there (HAProxy too) that lead to the archives.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Table, select

from tests.hosts.analysis_role import SHORT, SLOW_S
from tests.hosts.archive_peer import ArchivePeer
from tests.support.netns import NETWORK, Host, Network, network, wait_for_port
from tests.support.node import toml
from tests.support.object_store import ObjectServer
from tests.support.pacs import ENVIRONMENT, PostgresServer, program
from tests.support.stubborn import StubbornSender
from tests.support.waiting import wait_until
from triage_node.cli.setup import initialise
from triage_node.domain.errors import StoreError
from triage_node.domain.study import StudyState
from triage_node.store import heartbeat, studies, worklist
from triage_node.store.engine import Store, open_store
from triage_node.store.schema import association

REPOSITORY = Path(__file__).resolve().parents[2]
AE_TITLE, DICOM_PORT, HL7_PORT, PAGE_PORT, ARCHIVE_PORT, FIRST_RELAY = "TRIAGE", 11112, 2575, 8080, 11113, 11114
HOSTS = {
    "in1": "ingest", "in2": "ingest", "an1": "analysis", "an2": "analysis",
    "sc1": "scheduler", "sc2": "scheduler", "de1": "delivery", "de2": "delivery",
    "gw1": "gateway", "gw2": "gateway", "we1": "web", "we2": "web",
}  # fmt: skip
ARCHIVES = ("pacs", "other")
FOLDER, OBJECTS = "a shared folder", "an object store"
_RELAY = """
defaults
  mode tcp
  timeout connect 3s
  timeout client 120s
  timeout server 120s
"""
_ONE_RELAY = """
listen {name}
  bind 127.0.0.1:{relay}
  server archive {address}:{port}
"""


class Cluster:
    """Made by `cluster`."""

    def __init__(self, folder: Path, on: Network, database: PostgresServer, short: bool, slow_s: float) -> None:
        self.folder, self.database, self.on = folder, database, on
        self._short, self._slow_s = short, slow_s
        self.hosts: dict[str, Host] = {}
        self.archives: dict[str, ArchivePeer] = {}
        self.store: Store
        self.token = ""
        """Of whoever reads the page."""

    def config(self, name: str) -> Path:
        return self.folder / f"{name}.toml"

    def start(self, name: str) -> Host:
        """A host with its role; again after it was killed. Returns at once."""
        host, role = self.on.host(name), HOSTS[name]
        module = "tests.hosts.analysis_role" if role == "analysis" else f"triage_node.processes.{role}"
        command = [sys.executable, "-m", module, "--config", str(self.config(name))]
        environment = {**ENVIRONMENT, "PYTHONPATH": str(REPOSITORY), SLOW_S: str(self._slow_s)}
        if self._short:
            environment[SHORT] = "1"
        host.start(role, command, self.folder / f"{name}.log", environment, REPOSITORY)
        if role == "delivery":
            relay = self.folder / f"{name}-relay.cfg"
            ways = [
                _ONE_RELAY.format(name=a, relay=FIRST_RELAY + k, address=self.on.host(a).address, port=ARCHIVE_PORT)
                for k, a in enumerate(ARCHIVES)
            ]
            relay.write_text(_RELAY + "".join(ways))
            command = [program("haproxy"), "-f", str(relay), "-db"]
            host.start("relay", command, self.folder / f"{name}.log", ENVIRONMENT, Path("/"))
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

    def start_balancer(self) -> None:
        host = self.on.host("balancer")
        where = {"LISTEN": host.address}
        for role, pair in (("RECEIVER", "in"), ("GATEWAY", "gw"), ("PAGE", "we")):
            where |= {f"{role}_{n}": self.on.host(f"{pair}{n}").address for n in (1, 2)}
        command = [program("haproxy"), "-f", str(REPOSITORY / "deploy" / "haproxy.cfg"), "-db"]
        host.start("balancer", command, self.folder / "balancer.log", {**os.environ, **where}, Path("/"))
        wait_for_port(host.address, DICOM_PORT, "the balancer listens")


@contextmanager
def cluster(folder: Path, hosts: Sequence[str], kept_in: str, short: bool, slow_s: float = 0.0) -> Iterator[Cluster]:
    """These hosts and all that they need. The caller's thread is on the host `modality` meanwhile."""
    with ExitStack() as until_the_end:
        on = until_the_end.enter_context(network())
        for name in ("modality", "database", "objects", "balancer", *ARCHIVES, *HOSTS):
            on.host(name)
        database = PostgresServer(folder, on.host("database").address, NETWORK)
        until_the_end.callback(database.remove)
        until_the_end.enter_context(on.host("modality").inside())
        made = Cluster(folder, on, database, short, slow_s)
        made.restart_database()
        bytes_in = until_the_end.enter_context(_bytes_in(kept_in, folder, on.host("objects")))
        for name in hosts:
            data = folder / name
            store = {"database_url": database.url, "data_folder": str(data), "warn_free_gb": 0.2, "stop_free_gb": 0.1}
            made.config(name).write_text(_configuration({**store, **bytes_in}))
            data.mkdir(mode=0o700)
        list(initialise(made.config(hosts[0]), simulation=True))
        made.store = open_store(database.url)
        until_the_end.callback(made.store.close)
        for name in ARCHIVES:
            with on.host(name).inside():
                made.archives[name] = ArchivePeer(on.host(name).address, ARCHIVE_PORT)
            until_the_end.callback(made.archives[name].close)
        for name in hosts:
            made.start(name)
        made.wait_until_up(*hosts)
        made.start_balancer()
        yield made


@contextmanager
def _bytes_in(kept_in: str, folder: Path, host: Host) -> Iterator[dict[str, str]]:
    """What the section `store` says of it."""
    if kept_in == FOLDER:
        (folder / "shared").mkdir()
        yield {"blob_url": f"file://{folder / 'shared'}"}
        return
    with host.inside():
        server = ObjectServer(folder / "objects", host.address)
        server.start()
    try:
        yield {"blob_url": server.place(), "blob_credentials_file": str(server.credentials)}
    finally:
        server.kill()


def _configuration(store: Mapping[str, Any]) -> str:
    archives = [
        {
            "name": name, "ae_title": "PACS", "host": "127.0.0.1", "port": FIRST_RELAY + k, "response_timeout_s": 10.0,
            "kinds": ["findings_sr", "seg", "summary_sc"],
        }
        for k, name in enumerate(ARCHIVES)
    ]  # fmt: skip
    said: dict[str, Any] = {
        "store": store,
        "listener": {
            "host": "0.0.0.0", "port": DICOM_PORT, "ae_title": AE_TITLE, "maximum_associations_per_address": 64,
            "senders": [{"ae_title": "*", "addresses": [NETWORK], "quiet_s": 1.5}],
        },
        "hl7_inbound": {"host": "0.0.0.0", "port": HL7_PORT, "addresses": [NETWORK]},
        "web": {"host": "0.0.0.0", "port": PAGE_PORT},
        "completeness": {"deadline_s": 20.0},
        "worklist": {"mode": "active"},
        "operations": {"heartbeat_min": 0.0},
        "prognosis": {"bundles": []},
        "archives": archives,
    }  # fmt: skip
    return "\n".join(f"{name} = {toml(value)}" for name, value in said.items()) + "\n"
