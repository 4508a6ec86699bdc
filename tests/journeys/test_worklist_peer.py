"""A whole node and a RIS: killed between decision and push, it tells once when it runs again and the RIS answers."""

import os
import signal
from pathlib import Path

import pytest

from tests.journeys import modality
from tests.support.node import node
from tests.support.pacs import free_port
from tests.support.ris import Ris
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.prove, pytest.mark.timeout(400)]


def test_a_node_that_is_killed_between_decision_and_push_tells_the_ris_once(tmp_path: Path) -> None:
    sent = modality.phantom(tmp_path, "told", modality.now(), (modality.LARGE_BLEED,), seed=9056, size=256)
    peer = Ris(free_port())
    settings = peer.settings().model_dump(exclude_unset=True, mode="json")
    with node(tmp_path / "node", hl7_peers=[settings], prognosis={"bundles": []}) as running:
        modality.send(sent.files, running.dicom_port)

        def told() -> list[dict[str, object]]:
            return list(running.study(sent.uid).get("messages", ()))

        wait_until(lambda: told() and told()[0]["tries"], 120, "the flag was decided, and the RIS does not answer")
        assert told()[0]["state"] == "pending"
        pids = running.pids()
        for role in ("delivery", "supervisor"):
            os.kill(pids[role], signal.SIGKILL)
        peer.start()
        running.restart()
        wait_until(lambda: told()[0]["state"] == "acknowledged", 90, "the RIS was told")
        (row,) = (r for r in running.rows() if r["study_instance_uid"] == sent.uid)
        assert row["reordered_at"] == ["ris"]
        assert running.worklist()["alarms"] == []
    assert len(told_by(peer, "ORU^R01")) == len(told_by(peer, "ORM^O01")) == 1
    assert all(sent.uid in text for text in peer.texts.values())
    peer.stop()


def told_by(peer: Ris, kind: str) -> list[str]:
    return [c for c in peer.taken if f"|{kind}" in peer.texts[c]]
