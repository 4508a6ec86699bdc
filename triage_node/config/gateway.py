"""What others may ask of the node or tell it over DIMSE: the reading list as workitems; announcements of modalities and archives."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from triage_node.config.section import AETitle, Network, Port, Section, TLSSettings
from triage_node.domain import address


class WorkitemClientSettings(Section):
    """Who may ask for workitems over DIMSE. An AE title alone is no authentication, so it is bound to addresses."""

    ae_title: AETitle | Literal["*"] = Field(description="Calling AE title, or * for any.")
    addresses: tuple[Network, ...] = Field(
        ("127.0.0.0/8", "::1/128"), description="Addresses or networks it may call from."
    )


class WorkitemSubscriberSettings(Section):
    """Who may be told of changes. An AE title that is not here cannot subscribe (0xC308)."""

    ae_title: AETitle = Field(description="Its AE title.")
    host: str = Field("", description="Address for N-EVENT-REPORT; empty: it opens the WebSocket of UPS-RS.")
    port: Port = Field(104, description="Its DICOM port.")
    timeout_s: float = Field(10.0, gt=0, le=300, description="For each step: connection, answer.")


class AnnouncerSettings(Section):
    """Who may announce. An AE title alone is no authentication, so it is bound to addresses."""

    ae_title: AETitle | Literal["*"] = Field(description="Calling AE title, or * for any.")
    addresses: tuple[Network, ...] = Field(
        ("127.0.0.0/8", "::1/128"), description="Addresses or networks it may call from."
    )


class AnnouncementSettings(Section):
    """What is said to belong to a series: MPPS of modalities, Instance Availability Notifications of archives.

    A port of its own: who announces need not see the list.
    """

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = Field(11114, description="DICOM port of MPPS and IAN.")
    ae_title: AETitle = Field("TRIAGE", description="AE title there.")
    senders: tuple[AnnouncerSettings, ...] = Field(
        (AnnouncerSettings(ae_title="*"),),
        description="Who may announce; the default is anybody on this machine.",
    )


class GatewaySettings(Section):
    """The reading list as UPS workitems, over DIMSE and DICOMweb. Off unless a port is set."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    ups_port: Port = Field(0, description="Port of UPS over DIMSE; 0: off.")
    ae_title: AETitle = Field("TRIAGE", description="AE title of the UPS manager.")
    rs_port: Port = Field(0, description="Port of UPS-RS; 0: off.")
    tls: TLSSettings | None = Field(None, description="TLS of both ports; none: plain DICOM and HTTP.")
    rs_token_file: Path | None = Field(
        None, description="File that holds the bearer token that UPS-RS asks for; none: whoever is among rs_addresses."
    )
    clients: tuple[WorkitemClientSettings, ...] = Field(
        (WorkitemClientSettings(ae_title="*"),),
        description="Who may ask over DIMSE; the default is anybody on this machine.",
    )
    rs_addresses: tuple[Network, ...] = Field(
        ("127.0.0.0/8", "::1/128"), description="Addresses or networks that may use UPS-RS."
    )
    subscribers: tuple[WorkitemSubscriberSettings, ...] = Field((), description="Who may be told of changes.")

    @model_validator(mode="after")
    def _subscribers_are_unique(self) -> GatewaySettings:
        if len({s.ae_title for s in self.subscribers}) != len(self.subscribers):
            raise ValueError("gateway.subscribers: two have the same AE title")
        return self

    @model_validator(mode="after")
    def _token_stays_secret(self) -> GatewaySettings:
        if self.rs_token_file is not None and self.tls is None and not address.is_loopback(self.host):
            raise ValueError("gateway.rs_token_file needs gateway.tls: everybody on the way could read the token")
        return self

    @property
    def hosts(self) -> tuple[str, ...]:
        """Where it is reached, and whom it tells."""
        return (self.host, *(s.host for s in self.subscribers if s.host))

    @property
    def is_on(self) -> bool:
        return bool(self.ups_port or self.rs_port)
