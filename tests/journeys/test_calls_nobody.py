"""A node speaks to the peers that it was told of and to nobody else: no name is looked up, nothing leaves the machine by itself."""

from __future__ import annotations

import re
from ipaddress import ip_address

import pytest

from tests.floods.traffic import template
from tests.support.node import PROGRAM, node
from tests.support.pacs import storescp
from triage_node.processes.running import now

pytestmark = pytest.mark.timeout(600)
_DNS = 53
_NOWHERE = {(ip_address("0.0.0.0"), 0), (ip_address("::"), 0)}
"""Asked of the kernel when addresses are sorted; nothing is sent."""
# as strace writes a place: {sa_family=AF_INET, sin_port=htons(104), sin_addr=inet_addr("127.0.0.1")}, or with sin6_ and inet_pton
_PLACE = re.compile(r'sin6?_port=htons\((\d+)\).*?"([0-9a-fA-F.:]+)"')


def test_a_study_is_read_and_sent_without_a_call_to_anybody_else(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for sign_of_a_robot in ("CI", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY"):  # libraries hold their calls back there
        monkeypatch.delenv(sign_of_a_robot, raising=False)
    calls = tmp_path / "calls"
    watched = ("strace", "-D", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-e", "signal=none", "-o", str(calls))
    senders = [{"ae_title": "*", "addresses": ["127.0.0.0/8"], "quiet_s": 1.0}]
    with storescp(tmp_path / "archive") as port:
        archive = {
            "name": "archive", "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": port, "kinds": ["findings_sr", "seg"]
        }  # fmt: skip
        with node(
            tmp_path / "node", [archive], program=(*watched, str(PROGRAM)),
            listener={"senders": senders}, completeness={"deadline_s": 3.0, "minimum_coverage_mm": 100.0},
        ) as served:  # fmt: skip
            study = template(now()).study(1)
            study.send(served.dicom_port)
            served.wait_for_state(study.uid, frozenset({"delivered"}), 300)
    called = {(ip_address(host), int(port)) for port, host in _PLACE.findall(calls.read_text())}
    assert (ip_address("127.0.0.1"), port) in called, "what is told here would have been seen"
    assert {place for place in called if not place[0].is_loopback or place[1] == _DNS} <= _NOWHERE
    assert not (tmp_path / "home").exists(), sorted((tmp_path / "home").rglob("*"))
