"""Server-sent events: tells open pages that the list changed, or that time passed.

DESIGN. One watcher for all streams asks for the list's version every WATCH_S while there is at least one stream, and
ends with the last one: nothing runs for nobody. A stream holds no queue, only the number of the last event that it has
told; a slow page therefore skips events instead of collecting them. An event carries no content: the page fetches what
it shows, so that there is one way of drawing it. `tick` comes every TICK_S, so that "3 min ago" stays true and a page
that hears nothing knows that it is cut off.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable

from anyio import to_thread

WATCH_S = 0.5
TICK_S = 10.0
MOST_STREAMS = 256

log = logging.getLogger(__name__)


class Events:
    """All streams of one process. Belongs to one event loop; only `close` may be called from another thread."""

    def __init__(self, list_version: Callable[[], int]) -> None:
        self._list_version = list_version
        self._told = asyncio.Condition()
        self._number = 0
        self._event = ""
        self._streams = 0
        self._watcher: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    @property
    def streams(self) -> int:
        return self._streams

    @property
    def is_watching(self) -> bool:
        return self._watcher is not None

    @property
    def is_full(self) -> bool:
        return self._closed or self._streams >= MOST_STREAMS

    async def stream(self) -> AsyncIterator[str]:
        """Events as text until the reader goes away (the iteration is cancelled) or `close` is called."""
        self._enter()
        try:
            number = self._number
            yield "retry: 2000\nevent: hello\ndata: \n\n"
            while not self._closed:
                number, event = await self._after(number)
                if not self._closed:
                    yield event
        finally:
            self._leave()

    async def _after(self, number: int) -> tuple[int, str]:
        async with self._told:
            await self._told.wait_for(lambda: self._number != number or self._closed)
            return self._number, self._event

    def _enter(self) -> None:
        # counted when the stream starts and not when it is asked for: one that never starts is never left either
        self._streams += 1
        self._loop = asyncio.get_running_loop()
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())

    def _leave(self) -> None:
        self._streams -= 1
        if self._streams == 0 and self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    def close(self) -> None:
        """End every stream, from any thread."""
        self._closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: asyncio.ensure_future(self._wake()))

    async def _wake(self) -> None:
        async with self._told:
            self._told.notify_all()

    async def _tell(self, event: str, version: int) -> None:
        async with self._told:
            self._number += 1
            self._event = f"id: {self._number}\nevent: {event}\ndata: {version}\n\n"
            self._told.notify_all()

    async def _watch(self) -> None:
        version = -1
        ticked_at = time.monotonic()
        failing = False
        while True:
            try:
                now_at = await to_thread.run_sync(self._list_version)
            except Exception as error:  # noqa: BLE001 - whatever the store says, the watcher must outlive it
                if not failing:
                    log.error("event=list_version_failed error=%s", error)
                failing = True
            else:
                failing = False
                if version not in (-1, now_at):
                    await self._tell("list", now_at)
                version = now_at
                if time.monotonic() - ticked_at >= TICK_S:
                    ticked_at = time.monotonic()
                    await self._tell("tick", now_at)
            await asyncio.sleep(WATCH_S)
