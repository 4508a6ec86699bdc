"""Watching the node itself: the heartbeat, how long is too long, and the monitor outside that notices silence."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from triage_node.config.section import Section
from triage_node.config.web_access import base_url, check_credentials


class DeadManSettings(Section):
    """A monitor outside the hospital's node that calls somebody when this signal stops (deploy/DOWNTIME.md)."""

    url: str = Field(description="Address that is asked once a minute while all is well. Nothing of any study is sent.")
    method: Literal["GET", "POST"] = Field("GET", description="How it is asked.")
    tls_ca: Path | None = Field(None, description="CA of its certificate; none: the system's.")
    token_file: Path | None = Field(None, description="File that holds a bearer token.")
    user: str = Field("", description="User of basic authentication.")
    password_file: Path | None = Field(None, description="File that holds the password of `user`.")

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        return base_url(url)

    @model_validator(mode="after")
    def _credentials_are_whole(self) -> Self:
        check_credentials(self.url, self.token_file, self.user, self.password_file)
        return self


class OperationsSettings(Section):
    heartbeat_min: float = Field(
        30.0,
        ge=0,
        le=1440,
        description="Minutes from one heartbeat to the next: a made-up head CT with a bleed goes the whole way into a folder of "
        "this node, is checked and erased. 0: never. Two of them without a success are an alarm.",
    )
    latency_alarm_s: float = Field(
        180.0,
        gt=0,
        description="Alarm when 5 % of the last hour's studies take longer from their last slice to the decision.",
    )
    dead_man: DeadManSettings | None = Field(None, description="Monitor outside the node; none: nobody is told.")
