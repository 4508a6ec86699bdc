"""Reading lists of others: one settings class for each kind of way into them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from triage_node.config.section import AETitle, Port, Section
from triage_node.config.web_access import base_url, check_credentials

Identifier = Literal["patient_id", "name", "birth_date", "sex"]


class PeerSettings(Section):
    """What every peer has."""

    name: str = Field(min_length=1, max_length=64, description="Name in the outbox and on pages.")
    timeout_s: float = Field(10.0, gt=0, le=300, description="For each step: connection, answer.")
    identifiers: tuple[Identifier, ...] = Field(
        ("patient_id",), description="What of the patient it is told, beside study and accession number."
    )


class UpsPeerSettings(PeerSettings):
    """A UPS manager over DIMSE."""

    host: str = Field(description="Its address.")
    port: Port = Field(104, description="Its port.")
    ae_title: AETitle = Field(description="Its AE title.")
    calling_ae_title: AETitle = Field("TRIAGE", description="How we call ourselves there.")
    tls: bool = Field(False, description="Associate over TLS.")
    tls_ca: Path | None = Field(None, description="CA of its certificate.")
    create_missing: bool = Field(False, description="Create a reading workitem where the manager has none.")


class UpsRsPeerSettings(PeerSettings):
    """A UPS manager over DICOMweb."""

    url: str = Field(description="Base URL, to which /workitems is added.")
    tls_ca: Path | None = Field(None, description="CA of its certificate.")
    token_file: Path | None = Field(None, description="File that holds the bearer token.")
    user: str = Field("", description="User of basic authentication.")
    password_file: Path | None = Field(None, description="File that holds the password of `user`.")
    create_missing: bool = Field(False, description="Create a reading workitem where the manager has none.")

    @field_validator("url")
    @classmethod
    def _is_a_base_url(cls, url: str) -> str:
        return base_url(url)

    @model_validator(mode="after")
    def _credentials_are_whole_and_stay_secret(self) -> Self:
        check_credentials(self.url, self.token_file, self.user, self.password_file)
        return self


class FhirPeerSettings(PeerSettings):
    """A FHIR R4 server."""

    url: str = Field(description="Base URL of the server.")
    tls_ca: Path | None = Field(None, description="CA of its certificate.")
    token_file: Path | None = Field(None, description="File that holds the bearer token.")
    user: str = Field("", description="User of basic authentication.")
    password_file: Path | None = Field(None, description="File that holds the password of `user`.")
    raises: Literal["ServiceRequest", "Task"] = Field(
        "ServiceRequest", description="Whose priority goes up: that of the order, or of the tasks about it."
    )
    accession_system: str = Field("", description="Identifier system of accession numbers there; empty: any.")

    @field_validator("url")
    @classmethod
    def _is_a_base_url(cls, url: str) -> str:
        return base_url(url)

    @field_validator("accession_system")
    @classmethod
    def _is_one_uri(cls, system: str) -> str:
        if set(system) & set(",|$\\ "):
            raise ValueError("accession_system must be one URI, without blank, comma, bar, dollar and backslash")
        return system

    @model_validator(mode="after")
    def _credentials_are_whole_and_stay_secret(self) -> Self:
        check_credentials(self.url, self.token_file, self.user, self.password_file)
        return self


CharacterSet = Literal[
    "ASCII", "8859/1", "8859/2", "8859/5", "8859/9", "8859/15", "ISO IR87", "GB 18030-2000", "KS X 1001", "BIG-5", "UNICODE UTF-8"
]  # fmt: skip


class Hl7PeerSettings(PeerSettings):
    """A RIS or worklist engine that takes HL7 v2 over MLLP."""

    host: str = Field(description="Its address.")
    port: Port = Field(2575, description="Its port.")
    tls: bool = Field(False, description="MLLP over TLS.")
    tls_ca: Path | None = Field(None, description="CA of its certificate; none: the system's.")
    version: Literal["2.3.1", "2.4", "2.5", "2.5.1"] = Field(
        "2.5.1", description="HL7 version of our messages (MSH-12)."
    )
    character_set: CharacterSet = Field("UNICODE UTF-8", description="Character set of our messages (MSH-18).")
    sending_application: str = Field("TRIAGE", min_length=1, max_length=180, description="MSH-3.")
    sending_facility: str = Field("", max_length=180, description="MSH-4.")
    receiving_application: str = Field("", max_length=180, description="MSH-5.")
    receiving_facility: str = Field("", max_length=180, description="MSH-6.")
    result_status: Literal["R", "P"] = Field(
        "R", description="OBR-25 and OBX-11: R stored, not yet verified, or P preliminary; never F."
    )
    order_update: Literal["none", "ORM", "OMG", "OMI"] = Field(
        "none", description="Message that also asks for STAT, for critical and high findings, after the result (ORU)."
    )

    @model_validator(mode="after")
    def _version_knows_the_order_message(self) -> Self:
        if self.order_update in ("OMG", "OMI") and self.version in ("2.3.1", "2.4"):
            raise ValueError(f"{self.order_update} needs HL7 2.5 or later; use ORM")
        return self
