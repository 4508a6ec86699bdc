"""Reading lists of others: one settings class for each kind of way into them."""

from __future__ import annotations

from pydantic import Field

from triage_node.config.section import AETitle, Port, Section


class PeerSettings(Section):
    """What every peer has."""

    name: str = Field(min_length=1, max_length=64, description="Name in the outbox and on pages.")
    clinical: bool = Field(True, description="false: a test system, which may be told of E0 results.")
    timeout_s: float = Field(10.0, gt=0, le=300, description="For each step: connection, answer.")


class UpsPeerSettings(PeerSettings):
    """A UPS manager over DIMSE."""

    host: str = Field(description="Its address.")
    port: Port = Field(104, description="Its port.")
    ae_title: AETitle = Field(description="Its AE title.")
    calling_ae_title: AETitle = Field("TRIAGE", description="How we call ourselves there.")
    create_missing: bool = Field(False, description="Create a reading workitem where the manager has none.")


class UpsRsPeerSettings(PeerSettings):
    """A UPS manager over DICOMweb."""

    url: str = Field(description="Base URL, to which /workitems is added.")
    create_missing: bool = Field(False, description="Create a reading workitem where the manager has none.")


class Hl7PeerSettings(PeerSettings):
    """A RIS or worklist engine that takes HL7 v2 over MLLP."""

    host: str = Field(description="Its address.")
    port: Port = Field(2575, description="Its port.")
