"""The processes that receive for ingest never keep it from ending: who hangs is not started again."""

from __future__ import annotations

import socket
import subprocess
import sys

from tests.support.pacs import free_port
from triage_node.store.engine import open_store
from triage_node.store.upgrade import upgrade


def test_ingest_that_cannot_listen_ends(tmp_path) -> None:
    config, port = tmp_path / "triage-node.toml", free_port()
    config.write_text(f'store = {{ data_folder = "{tmp_path}" }}\nlistener = {{ host = "127.0.0.1", port = {port} }}\n')
    store = open_store(f"sqlite:///{tmp_path / 'triage.db'}")
    upgrade(store)
    store.close()
    with socket.create_server(("127.0.0.1", port)):
        command = [sys.executable, "-m", "triage_node.processes.ingest", "--config", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "cannot be listened on" in done.stderr
