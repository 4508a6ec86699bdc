"""What the settings of a peer over HTTP have in common: a base URL, and credentials that stay secret."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit


def base_url(url: str) -> str:
    """Without a slash at the end. Raises: ValueError when it is none."""
    parts = urlsplit(url)
    parts.port  # noqa: B018 - raises when it is none
    more = parts.username or parts.query or parts.fragment
    if parts.scheme not in ("http", "https") or not parts.hostname or more:
        raise ValueError("url must be http(s)://host[:port][/path], without user, query and fragment")
    return url.rstrip("/")


def check_credentials(url: str, token_file: Path | None, user: str, password_file: Path | None) -> None:
    """Raises: ValueError when they are not whole, or would be told to everybody on the way."""
    if bool(user) != (password_file is not None):
        raise ValueError("user and password_file belong together")
    if token_file is not None and user:
        raise ValueError("give token_file, or user and password_file, not both")
    parts = urlsplit(url)
    local = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if (token_file is not None or user) and parts.scheme != "https" and not local:
        raise ValueError("credentials go out over https only, or to this machine itself")
