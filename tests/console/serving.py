"""A real server on a free port of loopback, in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from tests.support.waiting import wait_until
from triage_node.console.app import Console
from triage_node.processes.web import listen


@contextmanager
def served(app: Console, port: int = 0) -> Iterator[str]:
    """Serve until the block ends; gives the address. Streams that are still open are closed by the application."""
    listener = listen("127.0.0.1", port)
    server = uvicorn.Server(uvicorn.Config(app.guarded, log_level="warning", timeout_graceful_shutdown=3))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, 30, "the web server to start")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        app.events.close()
        server.should_exit = True
        thread.join(30)
        listener.close()
        assert not thread.is_alive()
