"""HTTP connections that wait for nobody: one that stays silent is closed, and no address may hold all of them.

The server counts open connections, silent ones too, and answers 503 beyond its limit: without this, whoever reaches the port
shuts out everybody else by connecting and saying nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

log = logging.getLogger(__name__)

PATIENCE_S = 10.0
"""Between two looks at a connection: for a whole head of a request, and for the next bytes of its body."""
SHARE_OF_AN_ADDRESS = 0.5
"""Of all connections. This machine may hold all: a proxy in front of the pages speaks for everybody."""
_REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class PromptProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's protocol that closes connections on which nothing comes that was due."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._received = 0
        self._seen: tuple[Any, bool, int] = (None, True, -1)
        if self._is_one_too_many():
            log.warning("event=http_refused address=%s it holds half of all connections", self.client[0])
            transport.write(_REFUSAL)
            transport.close()
            return
        self.loop.call_later(PATIENCE_S, self._look)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)

    def _is_one_too_many(self) -> bool:
        if self.limit_concurrency is None or self.client is None or ipaddress.ip_address(self.client[0]).is_loopback:
            return False
        held = sum(c.client is not None and c.client[0] == self.client[0] for c in self.connections)
        return held > SHARE_OF_AN_ADDRESS * self.limit_concurrency

    def _look(self) -> None:
        if self.transport.is_closing() or self.transport.get_protocol() is not self:  # closed, or a web socket now
            return
        cycle, was_answered, received = self._seen
        is_answered = self.cycle is None or self.cycle.response_complete
        if is_answered:
            is_silent = was_answered and self.cycle is cycle
        else:
            is_silent = self.cycle.more_body and self._received == received and not self.flow.read_paused
        if is_silent:
            self.transport.close()
            return
        self._seen = self.cycle, is_answered, self._received
        self.loop.call_later(PATIENCE_S, self._look)
