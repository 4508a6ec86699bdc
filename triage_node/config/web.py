"""Page and API: where they listen, their certificate, how long a login lasts."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from triage_node.config.section import Port, Section


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

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Self:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key belong together")
        return self

    @property
    def is_tls(self) -> bool:
        return self.certificate is not None
