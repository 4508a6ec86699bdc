"""Hosts on one machine: network namespaces on a bridge, each with an address and a name of its own. Needs root.

The bridge lies in a namespace too, so the network of whoever runs the tests stays as it is. Everything is taken down at
the end, whatever happened; names are those of this run.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

PREFIX = "10.203.77"
NETWORK = f"{PREFIX}.0/24"
_CLONE_NEWNET = 0x40000000
_runs = itertools.count()


class Host:
    """A machine of its own to whatever runs on it: network, host name, and a cable that can be pulled."""

    def __init__(self, name: str, namespace: str, address: str, switch: str, port: str) -> None:
        self.name, self.address = name, address
        self._namespace, self._switch, self._port = namespace, switch, port
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path
    ) -> subprocess.Popen[bytes]:
        """Run a program here, in a session of its own."""
        # it dies with the thread that starts it, so with the tests, also where they are killed
        here = ["nsenter", f"--net=/run/netns/{self._namespace}", "setpriv", "--pdeathsig", "KILL", "unshare", "--uts"]
        named = ["sh", "-c", 'hostname "$0" && exec "$@"', self.name]
        with log.open("ab") as out:
            process = subprocess.Popen(
                [*here, *named, *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
            )
        self.running[name] = process
        return process

    def kill(self) -> None:
        """The power goes: every process at once, with what it started."""
        for process in self.running.values():
            _signal(process, signal.SIGKILL)
        for process in self.running.values():
            process.wait()
        self.running.clear()

    def stop(self) -> None:
        for process in self.running.values():
            _signal(process, signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                _signal(process, signal.SIGKILL)
                process.wait()
        self.running.clear()

    def freeze(self) -> None:
        """It stops in its midst, and its connections stay."""
        for process in self.running.values():
            _signal(process, signal.SIGSTOP)

    def thaw(self) -> None:
        for process in self.running.values():
            _signal(process, signal.SIGCONT)

    def cut(self) -> None:
        """The cable is pulled; nobody is told."""
        _ip("-n", self._switch, "link", "set", self._port, "down")

    def mend(self) -> None:
        _ip("-n", self._switch, "link", "set", self._port, "up")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread, and what it starts meanwhile, is on this host."""
        outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        here = os.open(f"/run/netns/{self._namespace}", os.O_RDONLY)
        try:
            _enter(here)
            try:
                yield
            finally:
                _enter(outside)
        finally:
            os.close(here)
            os.close(outside)


class Network:
    """Hosts are made as they are asked for."""

    def __init__(self) -> None:
        _remove_left_over()
        self._tag = f"tn{os.getpid()}x{next(_runs)}"
        self._switch = f"{self._tag}-switch"
        self._hosts: dict[str, Host] = {}
        self._namespaces: list[str] = []

    def host(self, name: str) -> Host:
        if not self._namespaces:
            self._make_switch()
        if name not in self._hosts:
            self._hosts[name] = self._make(name, len(self._hosts) + 2)
        return self._hosts[name]

    def close(self) -> None:
        for host in self._hosts.values():
            host.kill()
        for namespace in self._namespaces:
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)

    def _make_switch(self) -> None:
        self._add(self._switch)
        _ip("-n", self._switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "br0", "up")

    def _make(self, name: str, number: int) -> Host:
        namespace, port = f"{self._tag}-{name}", f"port{number}"
        self._add(namespace)
        peer = ("peer", "name", "eth0", "netns", namespace)
        _ip("-n", self._switch, "link", "add", port, "type", "veth", *peer)
        _ip("-n", self._switch, "link", "set", port, "master", "br0", "up")
        address = f"{PREFIX}.{number}"
        _ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", namespace, "link", "set", "eth0", "up")
        return Host(name, namespace, address, self._switch, port)

    def _add(self, namespace: str) -> None:
        _ip("netns", "add", namespace)
        self._namespaces.append(namespace)
        _ip("-n", namespace, "link", "set", "lo", "up")


@contextmanager
def network() -> Iterator[Network]:
    """A network without hosts; skips where namespaces cannot be made."""
    if os.getuid() != 0 or shutil.which("ip") is None or shutil.which("nsenter") is None:
        pytest.skip("several hosts on one machine need root, iproute2 and util-linux")
    with ExitStack() as until_the_end:
        made = Network()
        until_the_end.callback(made.close)
        yield made


def _remove_left_over() -> None:
    """What runs of the tests left that were killed."""
    for path in Path("/run/netns").glob("tn*x*-*"):
        if not Path(f"/proc/{path.name[2:].partition('x')[0]}").exists():
            subprocess.run(["ip", "netns", "del", path.name], check=False, capture_output=True)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:
        os.killpg(process.pid, number)


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def wait_for_port(address: str, port: int, what: str) -> None:
    import socket

    def listens() -> bool:
        with socket.socket() as s:
            s.settimeout(1)
            return s.connect_ex((address, port)) == 0

    wait_until(listens, 30, what)
