"""Certificates of servers on loopback."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from tests.support.pacs import program


def server_certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """A server's context and the file of its own CA, good for 127.0.0.1."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    command = [program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate
