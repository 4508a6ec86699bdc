"""`triage-node db tenant`: a hospital gets its login to a database that several share."""

from __future__ import annotations

from pathlib import Path

from triage_node.cli.terminal import terminal
from triage_node.config.load import load
from triage_node.store import tenancy
from triage_node.store.engine import open_store

_told = terminal(stderr=True)


def admit(config: Path | None, name: str) -> None:
    """Print, alone on standard output, the URL with which that hospital's node connects; it holds the password."""
    settings, _ = load(config)
    store = open_store(settings.database_url, settings.store.tenant, as_owner=True)
    url = tenancy.admit(store, name)
    store.close()
    _told.print(
        f'For the node of {name}: store.tenant = "{name}", and this line in the file that store.database_url_file names:',
        soft_wrap=True,
    )
    print(url)
