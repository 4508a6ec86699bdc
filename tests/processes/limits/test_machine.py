"""What is looked at under the node, without a database. Real full and read-only disks: tests/journeys/test_faults.py."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from tests.support.pacs import program
from tests.support.prove import record
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


GIVES_UP = """
mount -o loop,errors=remount-ro "$1" "$2"
device=$(findmnt -n -o SOURCE "$2")
echo test > /sys/fs/ext4/${device#/dev/}/trigger_fs_error
"$3" -c '
import sys
from pathlib import Path
from triage_node.config.schema import Settings, StoreSettings
from triage_node.processes.limits import machine
store = StoreSettings(data_folder=Path(sys.argv[1]), stop_free_gb=0, warn_free_gb=0)
print([p.what for p in machine.problems(Settings(store=store), {})])
' "$2"
umount "$2"
"""


@pytest.mark.prove
def test_disk_that_its_file_system_gave_up_is_told_as_read_only(tmp_path):
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(40 << 20)
    subprocess.run([program("mkfs.ext4"), "-q", str(image)], check=True)
    command = [program("unshare"), "-m", "sh", "-ec", GIVES_UP, "sh", str(image), str(folder), sys.executable]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.count("can only be read") == 3, told
    record(
        "disk_given_up",
        "a disk that ext4 gives up after an error is told as one that can only be read",
        {"disks told": told.count("can only be read")},
    )


@pytest.fixture
def role():
    """Something that is called as the role is, and waits."""
    script = "print(flush=True); input()"
    command = [sys.executable, "-c", script, "-m", "triage_node.processes.analysis"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield psutil.Process(process.pid)
        process.stdin.close()


@pytest.mark.parametrize(
    ("limit", "words"),
    [(psutil.RLIMIT_AS, "of address space that it may have"), (psutil.RLIMIT_DATA, "of memory for data")],
)
def test_role_near_a_limit_of_its_memory_is_told_until_the_limit_is_lifted(tmp_path, role, limit, words):
    def told() -> list[str]:
        return [p.what for p in machine.problems(settings(tmp_path), {"analysis": role.pid})]

    before = role.rlimit(limit)
    assert told() == []
    role.rlimit(limit, (1 << 20, before[1]))  # less than it has already: nothing more is given to it
    (said,) = told()
    assert said.startswith("The analysis process has")
    assert words in said
    role.rlimit(limit, before)
    assert told() == []
