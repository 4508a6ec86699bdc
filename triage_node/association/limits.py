"""What one sender, or all of them, may take of the listener."""

from __future__ import annotations

from dataclasses import dataclass

ASSOCIATE_PDU_BYTES = 256 << 10  # 128 contexts with 40 transfer syntaxes each are 200 KB
COMMAND_BYTES = 64 << 10  # a command set; real ones have some 200 bytes
EVENT_REPORT_BYTES = 16 << 20  # data set of an N-EVENT-REPORT: 100,000 references
LEAST_BYTES_PER_S = 16 << 10  # a data set that comes slower than this, past the DIMSE timeout, is cut off


@dataclass(frozen=True, slots=True)
class Limits:
    """Source: MEASUREMENTS.md section 3, STANDARDS.md 7.4."""

    maximum_pdu_bytes: int = 131072
    maximum_associations: int = 64
    maximum_associations_per_address: int = 8
    maximum_waiting: int = 256  # sockets that have not asked for an association yet
    maximum_waiting_per_address: int = 32
    acse_timeout_s: float = 5.0  # from connect to the last byte of the A-ASSOCIATE-RQ, TLS handshake included
    dimse_timeout_s: float = 30.0  # between two PDUs of one message
    network_timeout_s: float = 60.0  # between two messages
    pdu_deadline_s: float = 5.0  # from the first to the last byte of one PDU
    instance_bytes: int = 512 << 20
