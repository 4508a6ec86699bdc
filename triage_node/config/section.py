"""What every section of the configuration is made of: a frozen model that knows its keys, and types with their checks."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from triage_node.domain.identifiers import is_ae_title


def _ae_title(text: str) -> str:
    if not is_ae_title(text):
        raise ValueError(f"{text!r} is no AE title (1 to 16 printable ASCII characters, no backslash)")
    return text.strip()


def _network(text: str) -> str:
    ip_network(text, strict=False)
    return text


AETitle = Annotated[str, AfterValidator(_ae_title)]
Network = Annotated[str, AfterValidator(_network)]
Port = Annotated[int, Field(ge=0, le=65535)]


_MOST = {"_s": 1e6, "_min": 1e6, "_h": 1e7, "_days": 3e5, "_mb": 1e6, "_gb": 1e9, "_bytes": 2**32 - 1}
"""By unit at the end of a name: beyond this a clock, a socket or a date does not count."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _can_be_counted(cls, value: Any, info: ValidationInfo) -> Any:
        most = next((m for unit, m in _MOST.items() if str(info.field_name).endswith(unit)), 2**31 - 1)
        if isinstance(value, int | float) and value > most:
            raise ValueError(f"must be at most {most:,.0f}")
        return value


class TLSSettings(Section):
    certificate: Path = Field(description="PEM file with the node's certificate chain.")
    private_key: Path = Field(description="PEM file with its key, readable by the node only.")
    client_ca: Path | None = Field(None, description="CA that client certificates must come from; none: not asked for.")
