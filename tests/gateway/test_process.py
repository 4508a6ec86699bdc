"""The role as its own process: killed and started again."""

import os
import signal
import subprocess
import sys

import httpx
import pytest

from tests.gateway.site import LISTENER, WATCHER, DimseClient, RsClient, Site, performed
from tests.gateway.watchers import SocketWatcher
from tests.support.waiting import wait_until
from triage_node.config.schema import Settings
from triage_node.domain.finding import EvidenceLevel
from triage_node.domain.priority import Mode, ReadingState
from triage_node.domain.workitem import GLOBAL_SUBSCRIPTION
from triage_node.processes.wiring import effective_mode
from triage_node.workitems.follow import workitem_uid
from triage_node.workitems.status import Status

STUDY = "1.2.3"
ITEM = workitem_uid(STUDY, 1)
MINE = "2.25.111"


def start(site: Site) -> subprocess.Popen:
    command = [sys.executable, "-m", "triage_node.processes.gateway", "--config", str(site.config)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})

    def answers() -> bool:
        assert process.poll() is None, "the role ended"
        try:
            return httpx.get(f"{site.rs}/workitems", timeout=30).is_success
        except httpx.HTTPError:
            return False

    wait_until(answers, 60, "the role to answer")
    return process


def test_claim_survives_a_kill_and_the_role_stops_when_told(tmp_path):
    site = Site(tmp_path / "site")
    site.arrive(STUDY)
    process = start(site)
    try:
        client = DimseClient(site)
        assert client.change_state(ITEM, "IN PROGRESS", MINE) is Status.SUCCESS
        process.kill()
        process.wait(30)
        assert site.row(STUDY).reading_state is ReadingState.BEING_READ
        process = start(site)
        other, owner = RsClient(site), DimseClient(site)
        assert other.change_state(ITEM, "IN PROGRESS", "2.25.2") is Status.ALREADY_IN_PROGRESS
        told = performed()
        told.TransactionUID = MINE
        assert owner.update(ITEM, told) is Status.SUCCESS
        assert owner.change_state(ITEM, "COMPLETED", MINE) is Status.SUCCESS
        assert site.row(STUDY).reading_state is ReadingState.READ
        other.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait(30)
        site.store.close()


def test_port_that_is_taken_is_said_and_ends_the_role(site):
    command = [sys.executable, "-m", "triage_node.processes.gateway", "--config", str(site.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert f"gateway: 127.0.0.1:{site.ups_port} cannot be listened on" in done.stderr


def test_subscriber_that_is_away_holds_up_nobody_else(site):
    client, listener = DimseClient(site), SocketWatcher(site)
    for ae_title in (WATCHER, LISTENER):  # nobody listens where the first is said to be
        assert client.subscribe(GLOBAL_SUBSCRIPTION, ae_title) is Status.SUCCESS
    for k in range(30):
        site.arrive(f"1.2.3.{k}")
    listener.wait(30)
    listener.close()
    client.close()


@pytest.mark.parametrize("place", [{"host": "0.0.0.0"}, {"subscribers": [{"ae_title": "W", "host": "10.0.0.7"}]}])
def test_simulation_whose_workitems_leave_this_machine_only_observes(place):
    settings = Settings(worklist={"mode": "active"}, gateway={"ups_port": 11113, **place})
    assert effective_mode(settings, True, EvidenceLevel.E0)[0] is Mode.OBSERVE
    at_home = Settings(worklist={"mode": "active"}, gateway={"ups_port": 11113})
    assert effective_mode(at_home, True, EvidenceLevel.E0)[0] is Mode.ACTIVE
