"""The standard library's HTTP server on a free port, in a thread, for the servers that tests write themselves."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def http_served(
    handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None
) -> Iterator[tuple[int, Callable[[], None]]]:
    """Yields the port, and what ends the server before the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    ended = threading.Event()

    def stop() -> None:
        if not ended.is_set():
            ended.set()
            server.shutdown()
            server.server_close()

    try:
        yield server.server_address[1], stop
    finally:
        stop()
