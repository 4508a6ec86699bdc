"""First steps towards any peer: the TCP connection, and the TLS handshake with its reason in words."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from triage_node.processes.connecting import Step, StepFailed


def line_steps(host: str, port: int, timeout_s: float, tls: bool, tls_ca: Path | None) -> list[Step]:
    steps = [Step("TCP connection", lambda: _tcp(host, port, timeout_s))]
    if tls:
        steps.append(Step("TLS handshake", lambda: _tls(host, port, timeout_s, tls_ca)))
    return steps


def _connection(host: str, port: int, timeout_s: float) -> socket.socket:
    """Raises: StepFailed."""
    try:
        return socket.create_connection((host, port), timeout_s)
    except TimeoutError:
        raise StepFailed(f"{host}:{port} did not answer within {timeout_s:g} s") from None
    except (OSError, UnicodeError) as error:
        raise StepFailed(f"{host}:{port}: {getattr(error, 'strerror', None) or error}") from None


def _tcp(host: str, port: int, timeout_s: float) -> str:
    _connection(host, port, timeout_s).close()
    return f"{host}:{port} takes connections"


def _tls(host: str, port: int, timeout_s: float, tls_ca: Path | None) -> str:
    try:
        context = ssl.create_default_context(cafile=str(tls_ca) if tls_ca else None)
    except OSError as error:
        raise StepFailed(f"tls_ca {tls_ca} cannot be read: {error.strerror or error}") from None
    with _connection(host, port, timeout_s) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=host) as wrapped:
                return f"{wrapped.version()}, certificate is good for {host}"
        except ssl.SSLCertVerificationError as error:
            raise StepFailed(f"certificate not accepted: {error.verify_message}") from None
        except TimeoutError:
            raise StepFailed(
                f"no TLS handshake within {timeout_s:g} s",
                "The peer does not speak TLS on this port, or a firewall holds it up: another port, or tls = false.",
            ) from None
        except (OSError, ValueError) as error:
            words = str(getattr(error, "reason", None) or error).replace("_", " ").lower()
            raise StepFailed(f"TLS handshake failed: {words}") from None
