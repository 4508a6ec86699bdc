"""Small file systems of a test's own, in a mount namespace that ends with it: nobody else sees them, nothing else gets full."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.pacs import program
from tests.support.waiting import wait_until

_FILLER = "filler"


class Disks:
    """`within` before a command: it runs where the disks are mounted. `path`: of a file there, for somebody outside."""

    def __init__(self, keeper: int, mounts: Mapping[str, Path]) -> None:
        self.within = (program("nsenter"), f"--mount=/proc/{keeper}/ns/mnt", f"--wd={os.getcwd()}", "--")
        self._root, self._mounts = Path(f"/proc/{keeper}/root"), dict(mounts)

    def path(self, path: Path) -> Path:
        return self._root / path.relative_to("/")

    def fill(self, name: str) -> None:
        """Take every byte that is free."""
        with (self.path(self._mounts[name]) / _FILLER).open("ab", buffering=0) as file:
            with contextlib.suppress(OSError):
                while file.write(bytes(1 << 20)):
                    pass
            assert os.fstatvfs(file.fileno()).f_bavail == 0

    def make_room(self, name: str) -> None:
        (self.path(self._mounts[name]) / _FILLER).unlink()

    def remount(self, name: str, how: str) -> None:
        """`ro` or `rw`. It is refused while a file is open for writing, as one is now and then."""
        # of this mount alone (bind): a remount of the file system repeats its owner, who has no number in a user's own namespace
        command = [*self.within, program("mount"), "-o", f"remount,bind,{how}", str(self._mounts[name])]
        wait_until(lambda: subprocess.run(command, capture_output=True).returncode == 0, 60, f"{name} is {how}")


@contextmanager
def small_disks(mounts: Mapping[str, Path], megabytes: int) -> Iterator[Disks]:
    """One tmpfs of this size for each folder, which is made."""
    lines = []
    for path in mounts.values():
        path.mkdir(parents=True)
        lines.append(f"mount -t tmpfs -o size={megabytes}m tmpfs '{path}'")
    script = " && ".join([*lines, "echo mounted", "exec cat"])
    keeper = subprocess.Popen(
        [program("unshare"), "-m", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    try:
        assert keeper.stdout.readline() == b"mounted\n", "no file system can be mounted here"
        yield Disks(keeper.pid, mounts)
    finally:
        keeper.stdin.close()
        keeper.wait(60)
        keeper.stdout.close()
