"""Page and API: where they listen, their certificate, how long a login lasts."""

from __future__ import annotations

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from triage_node.config.section import Port, Section
from triage_node.config.web_access import base_url


class ProviderSettings(Section):
    """Logging in with the hospital's OpenID provider (code flow with PKCE), beside the node's own accounts."""

    issuer: str = Field(description="Its issuer URL, as its discovery document says it.")
    client_id: str = Field(min_length=1, description="As which the node is registered there.")
    client_secret_file: Path | None = Field(None, description="File with the client's secret; none: a public client.")
    page_url: str = Field(
        description="URL of this page as browsers see it; page_url/login/provider/back is registered at the provider."
    )
    tls_ca: Path | None = Field(None, description="CA of its certificate; none: those of the system.")
    label: str = Field("Log in with the hospital account", max_length=64, description="On the button.")
    name_claim: str = Field("preferred_username", description="Claim that names the account.")
    roles_claim: str = Field("groups", description="Claim that holds the groups; a dot goes one level down.")
    reader_groups: tuple[str, ...] = Field((), description="Groups whose members are readers.")
    radiologist_groups: tuple[str, ...] = Field((), description="Groups whose members are radiologists.")
    administrator_groups: tuple[str, ...] = Field((), description="Groups whose members are administrators.")
    auditor_groups: tuple[str, ...] = Field((), description="Groups whose members are auditors.")

    @field_validator("issuer", "page_url")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        parts = urlsplit(base_url(url))
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError("a login goes over https only, or on this machine itself")
        return base_url(url)


class WebSettings(Section):
    host: str = Field("127.0.0.1", description="Address of page and API.")
    port: Port = Field(8080, description="Port of page and API.")
    study_link: str = Field(
        "", description="Viewer link; {study_instance_uid}, {accession_number} and {patient_id} are filled in, encoded."
    )
    certificate: Path | None = Field(None, description="PEM file with the page's certificate chain; none: plain HTTP.")
    private_key: Path | None = Field(None, description="PEM file with its key, readable by the node only.")
    session_idle_min: float = Field(
        240.0, ge=5, le=1440, description="A login ends when nobody did anything this long."
    )
    session_h: float = Field(12.0, ge=0.25, le=168, description="A login ends after this in any case.")

    provider: ProviderSettings | None = Field(
        None, description="The hospital's OpenID provider; none: accounts of this node only."
    )

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Self:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key belong together")
        return self

    @property
    def is_tls(self) -> bool:
        return self.certificate is not None
