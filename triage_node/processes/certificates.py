"""From the settings of a listening port to its TLS."""

from __future__ import annotations

import ssl

from triage_node.association.tls import server_context
from triage_node.config.section import TLSSettings
from triage_node.domain.errors import ConfigError


def tls_of(settings: TLSSettings | None, name: str) -> ssl.SSLContext | None:
    """None: plain. Raises: ConfigError that names the setting when certificate or key cannot be used."""
    if settings is None:
        return None
    try:
        return server_context(settings.certificate, settings.private_key, settings.client_ca)
    except OSError as error:
        raise ConfigError(f"{name}: certificate or key cannot be used: {error}") from error
