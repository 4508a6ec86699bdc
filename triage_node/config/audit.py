"""The audit trail outside the store: heads of its chain, how long it is kept, and who else gets its entries."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from triage_node.config.section import Port, Section


class AuditSyslogSettings(Section):
    """An audit record repository: every entry as a DICOM audit message (PS3.15 A.5), RFC 5424 over TLS (RFC 5425)."""

    host: str = Field(min_length=1, description="Its name, as it stands in its certificate.")
    port: Port = Field(6514, description="Its port.")
    tls_ca: Path | None = Field(None, description="CA of its certificate; none: the system's.")
    certificate: Path | None = Field(None, description="PEM file with the certificate by which it knows this node.")
    private_key: Path | None = Field(None, description="PEM file with the key of `certificate`.")
    identifiers: Literal["none", "accession", "patient"] = Field(
        "none",
        description="What names the patient, beside the Study Instance UID: nothing, accession number, or patient ID too. Never a name.",
    )
    timeout_s: float = Field(30.0, gt=0, le=300, description="For one batch with its connection.")

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Self:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key belong together")
        return self


class AuditSettings(Section):
    head_file: Path | None = Field(
        None,
        description="File that gets the head of the audit chain every 5 minutes; best on a disk of another machine, append-only. "
        "`triage-node audit verify` compares with it. None: only the syslog receiver gets heads.",
    )
    keep_days: float = Field(
        0.0,
        ge=0,
        description="Days that entries are kept, 30 or more; what was not sent to syslog yet stays. 0: for ever.",
    )
    syslog: AuditSyslogSettings | None = Field(None, description="Who else gets every entry; none: nobody.")

    @field_validator("keep_days")
    @classmethod
    def _long_enough(cls, days: float) -> float:
        if 0 < days < 30:
            raise ValueError("0 (for ever), or 30 and more")
        return days
