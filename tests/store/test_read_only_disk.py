"""An SQLite store that is opened on a disk that can only be read: it is read meanwhile, and written again without a restart."""

from __future__ import annotations

import subprocess
import sys

from tests.support.disks import small_disks

# where the disk is mounted: SQLite follows the links of a path, so it cannot be opened from outside
MADE = """
import os, signal, sys
from triage_node.store import meta
from triage_node.store.engine import open_store
from triage_node.store.upgrade import upgrade
store = open_store(sys.argv[1])
upgrade(store)
meta.set_simulation(store, True)
os.kill(os.getpid(), signal.SIGKILL)  # what it wrote last lies in the log of SQLite
"""
AT_WORK = """
import sys
from triage_node.domain.errors import StoreUnavailable
from triage_node.store import meta
from triage_node.store.engine import open_store
store = open_store(sys.argv[1])
for _ in sys.stdin:
    version = meta.list_version(store)
    try:
        with store.write() as c:
            meta.touch_list(c)
        print(version, "written", flush=True)
    except StoreUnavailable:
        print(version, "away", flush=True)
"""


def test_store_on_a_read_only_disk_is_read_and_written_again_when_that_is_over(tmp_path) -> None:
    folder = tmp_path / "db"
    with small_disks({"db": folder}, 10) as disks:

        def program(script: str) -> list[str]:
            return [*disks.within, sys.executable, "-c", script, f"sqlite:///{folder / 'triage.db'}"]

        subprocess.run(program(MADE))
        disks.remount("db", "ro")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        with subprocess.Popen(program(AT_WORK), **pipes) as process:

            def tried() -> str:
                print(file=process.stdin)
                return process.stdout.readline().strip()

            assert [tried(), tried()] == ["0 away", "0 away"]
            disks.remount("db", "rw")
            assert [tried(), tried()] == ["0 written", "1 written"]
            process.stdin.close()
