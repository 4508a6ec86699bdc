"""The node's own HL7 v2 listener: orders, patients and reports of others."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from triage_node.config.section import Network, Port, Section
from triage_node.domain.clinical import ClinicalEntry

_FACTS = frozenset(f.name for f in fields(ClinicalEntry)) - {"age_years", "onset_unknown"}


def _fact(name: str) -> str:
    if name not in _FACTS:
        raise ValueError(f"{name!r} is no clinical fact; known are {', '.join(sorted(_FACTS))}")
    return name


OBSERVATIONS = {
    "9269-2": "gcs",
    "9267-6": "gcs_eye",
    "9270-0": "gcs_verbal",
    "9268-4": "gcs_motor",
    "72089-6": "nihss",
    "11368-8": "onset_at",
    "8480-6": "systolic_mmhg",
    "2345-7": "glucose_mg_dl",
    "2339-0": "glucose_mg_dl",
    "14749-6": "glucose_mg_dl",
    "711150003": "on_anticoagulant",
}
"""LOINC: Glasgow coma score total, eye opening, verbal, motor; Total score [NIH Stroke Scale]; Illness or injury onset date and time;
systolic blood pressure; glucose in serum or plasma and in blood. For anticoagulation, which has none there, SNOMED CT "Long-term
current use of anticoagulant". Source: LOINC 2.82; the IHE PCS stroke scale profile; HL7 Austria's patient summary."""


class Hl7InboundSettings(Section):
    """Orders, patients and reports of others, HL7 v2 over MLLP."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = Field(2575, description="Its port.")
    addresses: tuple[Network, ...] = Field(
        ("127.0.0.0/8", "::1/128"), description="Addresses or networks that may send."
    )
    certificate: Path | None = Field(None, description="PEM file with the certificate chain; none: plain MLLP.")
    private_key: Path | None = Field(None, description="PEM file with its key, readable by the node only.")
    client_ca: Path | None = Field(None, description="CA that client certificates must come from; none: not asked for.")
    maximum_message_kb: int = Field(4096, ge=16, le=65536, description="Largest message; a report may carry its PDF.")
    idle_s: float = Field(600.0, gt=0, description="After this without a message a connection is closed.")
    maximum_connections: int = Field(32, ge=1, le=1000, description="Connections at a time.")
    maximum_connections_per_address: int = Field(
        8, ge=1, le=1000, description="Connections at a time from one address."
    )
    may_correct_identity: bool = Field(
        True,
        description="ADT^A08 and A40, and orders that name a study by its UID with another accession number, correct "
        "identities; false: they are shown as conflicts.",
    )
    completed_means_read: bool = Field(
        False, description="ORC-5 CM says that a study was read; at many sites it says that it was scanned."
    )
    observations: dict[str, Annotated[str, AfterValidator(_fact)]] = Field(
        OBSERVATIONS, description="Code in OBX-3 -> clinical fact."
    )

    @model_validator(mode="after")
    def _certificate_has_a_key(self) -> Hl7InboundSettings:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key belong together")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError("client_ca needs certificate and private_key")
        return self
