"""Hosts are killed and cut off in mid-study, one role after the other: nothing is lost, nothing is sent twice, the list is right.

Each run of the tests takes the faults of SHORT on shortened leases, `make prove` all of them on those of the node. Detection
is replaced (analysis_role.py), everything else is the node's own. After each fault the host comes back.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pynetdicom import _config

from tests.hosts.cluster import FOLDER, HOSTS, OBJECTS, Cluster, cluster
from tests.hosts.others import order_until_accepted, page_list
from tests.journeys import modality
from tests.journeys.modality import Sent
from tests.support.prove import PROVING, record
from triage_node.domain.delivery import OutboxRow, OutboxState
from triage_node.domain.priority import ListPolicy, Mode, OrderClass, WorklistRow
from triage_node.domain.study import StudyState
from triage_node.processes.running import now
from triage_node.store import heartbeat, instances, outbox, results
from triage_node.store.schema import outbox as outbox_rows
from triage_node.store.schema import study as study_rows
from triage_node.worklist.leaving import as_readers_see
from triage_node.worklist.order import order

pytestmark = [pytest.mark.timeout(1800)]
WITH_BLEED, WITHOUT = 28, 29
POLICY = ListPolicy(mode=Mode.ACTIVE)
NONE = "nothing"
KINDS = 3
"""Objects of a study with a bleed at each archive."""
IN_EACH_RUN = ("in1", "in2", "an1", "an2", "sc1", "sc2", "de1")


class Rounds:
    """Two studies for each fault, one with a bleed; the rows that they have where nothing goes wrong."""

    def __init__(self, site: Cluster, folder: Path) -> None:
        self.site = site
        self.sent: list[tuple[str, int]] = []
        self.ordered: dict[str, OrderClass] = {}
        self.usual: dict[int, WorklistRow] = {}
        """By the number of slices, which tells the two studies of a round apart."""
        self._copies = {n: iter(_copies(folder, n)) for n in (WITH_BLEED, WITHOUT)}

    def send(self, slices: int, during: Callable[[int], None] = lambda count: None) -> Sent:
        """The next study, over four associations at a time; what is not answered is sent again."""
        study = next(self._copies[slices])
        self.sent.append((study.uid, slices))
        sender = self.site.sender(during)
        sender.send(study.files, associations=4)
        assert len(sender.answered) == len(study.files)
        return study

    def shown(self) -> list[WorklistRow]:
        """The list as readers see it."""
        rows = as_readers_see([listed.row for listed in self.site.listed()], POLICY)
        by_uid = {row.study_instance_uid: row for row in rows}
        return [by_uid[placed.row.study_instance_uid] for placed in order(rows, now(), POLICY)]

    def as_without_faults(self) -> list[WorklistRow]:
        """The order of the rows that every study had got if nothing had gone wrong, in the order in which they were sent."""
        first = min(row.arrived_at for row in self.usual.values())
        rows = [
            replace(
                self.usual[slices],
                study_instance_uid=uid,
                arrived_at=first + (now() - first) * k / len(self.sent),
                order_class=self.ordered.get(uid, OrderClass.ROUTINE),
            )
            for k, (uid, slices) in enumerate(self.sent)
        ]
        by_uid = {row.study_instance_uid: row for row in rows}
        return [by_uid[placed.row.study_instance_uid] for placed in order(rows, now(), POLICY)]


def _copies(folder: Path, slices: int) -> list[Sent]:
    bleeds = (modality.LARGE_BLEED,) if slices == WITH_BLEED else ()
    first = modality.phantom(folder, f"s{slices}", modality.now(), bleeds, slices, 5.0, 9100 + slices, size=128)
    (folder / f"of{slices}").mkdir()
    return modality.copies(first, folder / f"of{slices}", len(FAULTS) + 2, own_patients=True)[1:]


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Rounds]:
    """The param says where bytes are kept."""
    folder = tmp_path_factory.mktemp("hosts")
    hosts = [name for name in HOSTS if PROVING or name in IN_EACH_RUN]
    with (
        pytest.MonkeyPatch.context() as patch,
        cluster(folder, hosts, request.param, short=not PROVING, slow_s=1.5) as site,
    ):
        patch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)  # the files' own bytes go out
        made = Rounds(site, folder)
        _round(made, NONE)
        for row in made.shown():
            made.usual[dict(made.sent)[row.study_instance_uid]] = row
        yield made


class Fault:
    """Something happens to a host of a role at a moment of a study, and is over a while later."""

    def __init__(self, rounds: Rounds, how: str) -> None:
        self.site, self.rounds, self._how = rounds.site, rounds, how
        self.victim = ""

    def strike(self, victim: str) -> None:
        self.victim = victim
        host = self.site.hosts[victim]
        {"killed": host.kill, "cut off": host.cut, "stopped": host.freeze}[self._how]()

    def heal(self) -> None:
        """The host is back, and the database has heard of it."""
        at = now()
        host = self.site.hosts[self.victim]
        {"killed": lambda: self.site.start(self.victim), "cut off": host.mend, "stopped": host.thaw}[self._how]()
        role = HOSTS[self.victim]
        back = lambda: heartbeat.hosts(self.site.store, role)[self.victim] > at  # noqa: E731
        self.site.wait(back, 90, f"{self.victim} is back")


def ingest(fault: Fault) -> list[Sent]:
    """A receiver goes while both have slices of the study; what it answered it has, though nobody may know of it yet."""
    one = fault.rounds.send(WITH_BLEED, lambda count: fault.strike("in1") if count == 10 else None)
    other = fault.rounds.send(WITHOUT)
    fault.heal()
    return [one, other]


def analysis(fault: Fault) -> list[Sent]:
    """The host that has the study at work goes; the other takes it over."""
    one = fault.rounds.send(WITH_BLEED)
    site = fault.site
    owner = site.wait(lambda: site.owner(study_rows, one.uid), 60, "the study is at work")
    fault.strike(owner)
    other = fault.rounds.send(WITHOUT)
    taken_over = lambda: site.owner(study_rows, one.uid) not in (owner, "") or results.latest(site.store, one.uid)  # noqa: E731
    site.wait(taken_over, 60, "the study was taken over")
    fault.heal()
    return [one, other]


def scheduler(fault: Fault) -> list[Sent]:
    """The scheduler that works goes while slices arrive; the other closes the study."""
    working = fault.site.wait(lambda: at_work(fault.site), 60, "a scheduler works")
    one = fault.rounds.send(WITH_BLEED, lambda count: fault.strike(working) if count == 10 else None)
    fault.site.wait_for_state(one.uid, *set(StudyState) - {StudyState.RECEIVING})
    fault.site.wait(lambda: at_work(fault.site, but=working), 60, "the other scheduler says that it works")
    other = fault.rounds.send(WITHOUT)
    fault.heal()
    return [one, other]


def delivery(fault: Fault) -> list[Sent]:
    """The host that is sending to an archive goes while that one hangs; the other archive got everything meanwhile."""
    hanging, other_archive = fault.site.archives["pacs"], fault.site.archives["other"]
    hanging.hang()
    hanging.arrived.clear()
    one = fault.rounds.send(WITH_BLEED)
    fault.site.wait(hanging.arrived.is_set, 120, "an object is on its way")
    fault.site.wait(lambda: len(other_archive.instances_of(one.uid)) == KINDS, 60, "the other archive has everything")
    fault.strike(fault.site.owner(outbox_rows, one.uid))
    hanging.answer()
    other = fault.rounds.send(WITHOUT)
    fault.site.wait_for_state(one.uid, StudyState.DELIVERED)
    fault.heal()
    return [one, other]


def gateway(fault: Fault) -> list[Sent]:
    """Orders come while a gateway goes; each is sent until it is accepted."""
    one = fault.rounds.send(WITH_BLEED, lambda count: fault.strike("gw1") if count == 10 else None)
    other = fault.rounds.send(WITHOUT)
    for study in (one, other, one, other):  # twice: the balancer gives them to both gateways in turn
        order_until_accepted(fault.site, study)
        fault.rounds.ordered[study.uid] = OrderClass.STAT
    fault.heal()
    return [one, other]


def web(fault: Fault) -> list[Sent]:
    """The page answers all the time, and says what the list is."""
    one = fault.rounds.send(WITH_BLEED, lambda count: fault.strike("we1") if count == 10 else None)
    other = fault.rounds.send(WITHOUT)
    for study in (one, other):
        fault.site.wait(lambda uid=study.uid: uid in page_list(fault.site), 60, "the page shows the study")
        fault.site.wait_for_state(study.uid, StudyState.DELIVERED)
    assert page_list(fault.site) == [row.study_instance_uid for row in fault.rounds.shown()]
    fault.heal()
    return [one, other]


def database(fault: Fault) -> list[Sent]:
    """The database ends every connection while slices arrive, and again while a study is at work."""
    host = fault.site.on.host("database")

    def away(seconds: float) -> None:
        if fault._how == "restarted":
            fault.site.restart_database()
        else:
            host.cut()
            time.sleep(seconds)  # the time that it is away is what is tried here
            host.mend()

    one = fault.rounds.send(WITH_BLEED, lambda count: away(5.0) if count == 10 else None)
    fault.site.wait(lambda: fault.site.owner(study_rows, one.uid), 120, "the study is at work")
    away(15.0)
    return [one, fault.rounds.send(WITHOUT)]


def nothing(fault: Fault) -> list[Sent]:
    return [fault.rounds.send(WITH_BLEED), fault.rounds.send(WITHOUT)]


ROLES = {f.__name__: f for f in (nothing, ingest, analysis, scheduler, delivery, gateway, web, database)}
SHORT = ["ingest cut off", "analysis killed"]
FAULTS = [
    *SHORT,
    "ingest killed",
    "analysis cut off",
    "analysis stopped",
    "scheduler killed",
    "scheduler cut off",
    "scheduler stopped",
    "delivery killed",
    "delivery cut off",
    "gateway killed",
    "gateway cut off",
    "web killed",
    "web cut off",
    "database restarted",
    "database cut off",
]
_OF_THESE = ("ingest cut off", "ingest killed", "analysis killed", "delivery killed")
WITH_OBJECTS = [f"{fault}, bytes in {OBJECTS}" for fault in _OF_THESE]


def _round(rounds: Rounds, fault: str) -> list[Sent]:
    role, _, how = fault.partition(",")[0].partition(" ")
    sent = ROLES[role](Fault(rounds, how))
    for study in sent:
        rounds.site.wait_for_state(study.uid, StudyState.DELIVERED, seconds=150)
    return sent


def at_work(site: Cluster, but: str = "") -> str:
    """The scheduler that works now, empty when none does."""
    working = {host for host, said in heartbeat.details(site.store, "scheduler").items() if said.get("works")}
    return next(iter(sorted(working - {but} - heartbeat.silent(site.store, "scheduler", now()))), "")


@pytest.mark.parametrize(
    ("rounds", "fault"),
    [
        *(pytest.param(FOLDER, f, id=f, marks=pytest.mark.prove(short=f in SHORT)) for f in FAULTS),
        *(pytest.param(OBJECTS, f, id=f, marks=pytest.mark.prove) for f in WITH_OBJECTS),
    ],
    indirect=["rounds"],
    scope="module",
)
def test_nothing_is_lost_nothing_arrives_twice_and_the_list_is_right(rounds: Rounds, fault: str) -> None:
    site, began = rounds.site, time.monotonic()
    sent = _round(rounds, fault)
    took_s = time.monotonic() - began
    stored = {study.uid: {i.sop_instance_uid for i in instances.of_study(site.store, study.uid)} for study in sent}
    rows = [row for study in sent for row in outbox.of_study(site.store, study.uid)]
    record(
        f"hosts_{re.sub('[^a-z]+', '_', fault)}",
        f"several hosts, {fault}, in mid-study: nothing lost, nothing twice, the list right (detection replaced)",
        {
            "instances answered": sum(len(s.files) for s in sent),
            "instances stored": sum(map(len, stored.values())),
            "objects delivered": sum(row.state == "delivered" for row in rows),
            "objects that came more than once, same bytes": sum(
                site.archives[r.peer].times[r.sop_instance_uid] > 1 for r in rows
            ),
            "seconds until delivered": round(took_s),
        },
    )
    site.wait(lambda: not silent(site), 60, "every host gives signs of life")
    assert site.receivers() == {"in1", "in2"}
    for study in sent:
        assert len(stored[study.uid]) == len(study.files)
        record_of = results.latest(site.store, study.uid)
        assert record_of is not None
        assert record_of.flagged == (len(study.files) == WITH_BLEED)
        for name, archive in site.archives.items():
            theirs = {
                r.sop_instance_uid for r in rows if (r.peer, r.study_instance_uid) == (name, study.uid) and went(r)
            }
            assert archive.instances_of(study.uid) == theirs
    for archive in site.archives.values():
        assert {len(found) for found in archive.bytes_of.values()} == {1}
        assert archive.at_once == []
    shown, expected = rounds.shown(), rounds.as_without_faults()
    assert [said(row) for row in shown] == [said(row) for row in expected]


def silent(site: Cluster) -> set[str]:
    return {host for role in set(HOSTS.values()) for host in heartbeat.silent(site.store, role, now())}


def went(row: OutboxRow) -> bool:
    """Whether an object arrived; what did not was replaced by a later revision, made of slices that came late."""
    assert row.state is OutboxState.DELIVERED or row.reason.startswith(outbox.SUPERSEDED)
    return row.state is OutboxState.DELIVERED


def said(row: WorklistRow) -> tuple[object, ...]:
    """What a reader sees of a row, but for times."""
    flag = row.flag and (row.flag.finding, row.flag.urgency, row.flag.words)
    return row.study_instance_uid, row.order_class, row.reading_state, row.live, row.status_words, flag
