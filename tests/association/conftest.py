"""Nodes that tests of one file share, one for each receive path."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.association.node import Node, running

SENDERS = """
[[listener.senders]]
ae_title = "*"
addresses = ["127.0.0.2", "127.0.0.3/32"]
[[listener.senders]]
ae_title = "CT1"
addresses = ["127.0.0.4"]
"""
IMPATIENT = """
acse_timeout_s = 1.0
dimse_timeout_s = 1.0
network_timeout_s = 2.0
pdu_deadline_s = 1.0
"""
SPARING = """
maximum_associations = 6
maximum_associations_per_address = 4
maximum_instance_mb = 3
maximum_instances_per_study = 3
require_called_ae_title = true
"""


@dataclass(frozen=True)
class Certificate:
    certificate: Path
    key: Path

    def client(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.certificate))
        context.check_hostname = False
        return context


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> Certificate:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
        + ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")],
        check=True,
        capture_output=True,
    )
    return Certificate(folder / "certificate.pem", folder / "key.pem")


@pytest.fixture(scope="module", params=["fast", "stock"])
def node(request, tmp_path_factory) -> Iterator[Node]:
    """Default limits; anybody from 127.0.0.2 and .3, CT1 from 127.0.0.4."""
    with running(tmp_path_factory.mktemp(request.param) / "data", path=request.param, senders=SENDERS) as started:
        yield started


@pytest.fixture(scope="module", params=["fast", "stock"])
def impatient(request, tmp_path_factory) -> Iterator[Node]:
    """Limits of a second or two: for clients that hang, since one that behaves may be late on a loaded machine."""
    folder = tmp_path_factory.mktemp("impatient") / "data"
    with running(folder, path=request.param, listener=IMPATIENT) as started:
        yield started


@pytest.fixture(scope="module", params=["fast", "stock"])
def sparing(request, tmp_path_factory) -> Iterator[Node]:
    """Limits of a few associations, instances and megabytes, and all the time in the world; only calls to TRIAGE."""
    folder = tmp_path_factory.mktemp("sparing") / "data"
    with running(folder, path=request.param, listener=SPARING) as started:
        yield started


@pytest.fixture(scope="module", params=["fast", "stock"])
def secure(request, tmp_path_factory, certificate) -> Iterator[Node]:
    """The same over TLS, without client certificates."""
    lines = f'[listener.tls]\ncertificate = "{certificate.certificate}"\nprivate_key = "{certificate.key}"'
    with running(tmp_path_factory.mktemp("secure") / "data", path=request.param, senders=lines) as started:
        yield started
