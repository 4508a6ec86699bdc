"""What is looked at under the node, without a database. Real full and read-only disks: tests/journeys/test_faults.py."""

from __future__ import annotations

import os

from triage_node.config.schema import Settings, StoreSettings
from triage_node.processes.limits import machine


def settings(tmp_path, **store) -> Settings:
    return Settings(store=StoreSettings(data_folder=tmp_path, **({"stop_free_gb": 0, "warn_free_gb": 0} | store)))


def test_machine_that_lacks_nothing_is_told_so(tmp_path):
    seen = list(machine.look(settings(tmp_path), {}))
    assert [s.what.split(":")[0] for s in seen] == [
        "disk of the received images",
        "disk of the objects",
        "disk of the database",
    ]
    assert [s.problem for s in seen] == [None, None, None]


def test_floor_and_warning_of_the_settings_hold_for_received_images(tmp_path):
    most = 1e6
    (stopped,) = machine.problems(settings(tmp_path, stop_free_gb=most), {})
    assert stopped.is_urgent
    assert "senders are refused with 0xA700" in stopped.what
    (warned,) = machine.problems(settings(tmp_path, warn_free_gb=most), {})
    assert not warned.is_urgent


def test_folder_that_is_gone_is_told_with_what_does_not_happen(tmp_path):
    gone = settings(tmp_path / "gone", database_url="postgresql://nowhere/db")
    told = [p.what for p in machine.problems(gone, {})]
    assert len(told) == 2
    assert told[0].startswith("The disk of the received images cannot be looked at (No such file or directory)")


def test_number_of_another_process_is_not_taken_for_a_role(tmp_path):
    assert len(list(machine.look(settings(tmp_path), {"ingest": os.getpid(), "analysis": 1 << 22}))) == 3
