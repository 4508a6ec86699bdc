"""Asking an archive each night which head CTs never reached this node."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from triage_node.config.section import Section
from triage_node.config.web_access import base_url, check_credentials

_HEAD = ("*head*", "*brain*", "*skull*")


class ReconciliationSettings(Section):
    """Which archive is asked, when, and what counts as a head CT there."""

    archive: str = Field(
        "",
        description="Name of one of `archives`, asked the way objects go there: C-FIND, or QIDO-RS below its stow_url.",
    )
    qido_url: str = Field("", description="Instead: base URL of DICOMweb, to which /studies is added: QIDO-RS.")
    tls_ca: Path | None = Field(None, description="qido_url: CA of its certificate.")
    token_file: Path | None = Field(None, description="qido_url: file that holds the bearer token.")
    user: str = Field("", description="qido_url: user of basic authentication.")
    password_file: Path | None = Field(None, description="qido_url: file that holds the password of `user`.")
    hour: int = Field(3, ge=0, le=23, description="Asked once a day from this hour on, in node.time_zone.")
    days_back: int = Field(1, ge=1, le=14, description="Asked for the studies of so many days, yesterday the last.")
    body_parts: tuple[str, ...] = Field(
        _HEAD, max_length=50, description="Patterns (*, ?) of Body Part Examined of a CT series, case-insensitive."
    )
    descriptions: tuple[str, ...] = Field(
        (*_HEAD, "*cranial*", "*schädel*", "*kopf*", "*cct*", "*stroke*"),
        max_length=50,
        description="Or patterns of its Series Description or Study Description.",
    )
    timeout_s: float = Field(60.0, gt=0, le=600, description="For one question with all its answers.")

    @field_validator("qido_url")
    @classmethod
    def _is_a_base_url(cls, url: str) -> str:
        return base_url(url) if url else ""

    @model_validator(mode="after")
    def _one_archive_is_named(self) -> Self:
        if bool(self.archive) == bool(self.qido_url):
            raise ValueError("give archive, or qido_url, and not both")
        if not self.qido_url and (self.tls_ca or self.token_file or self.user or self.password_file):
            raise ValueError("tls_ca, token_file, user and password_file belong to qido_url")
        check_credentials(self.qido_url, self.token_file, self.user, self.password_file)
        return self
