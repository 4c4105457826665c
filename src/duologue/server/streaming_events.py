"""A session's events as a stream of server-sent events, for those with only curl or a browser's `EventSource`.

The `id` of an event is its item's number in the store: a reader that comes back says the last one that it has, in the
header `Last-Event-ID` or as `?after=`, and is told what it missed. What has no number is of the moment.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any

from duologue.core.streaming import StreamEnded, StreamNotice
from duologue.server.audio.outlet import Outlet

HEARTBEAT_S = 15.0
"""A proxy takes a line for dead that is silent for a minute or less."""

MAX_WAITING_BYTES = 16 * 1024 * 1024
"""What a reader has not taken. When more is to be told then, it is slow; one larger event makes nobody slow."""

EVENT_BYTES = 100
"""What it takes beside its own bytes to keep one."""

Json = dict[str, Any]

_HEARTBEAT = b": still here\n\n"
_TOO_SLOW = {
    "code": "reader_too_slow",
    "message": "These events come faster than they are read. Come back with the number of the last that you have.",
}
_GOING_DOWN = {
    "code": "server_going_down",
    "message": "The server goes down. Come back with the number of the last event that you have.",
}


class Reader:
    """One reader of a session's events: what it has not read waits here, within a bound.

    Args:
        describe: a notice as JSON; None for one that is not shown.

    Attributes:
        is_caught_up: it was told what it missed, which may be much, and comes at once.
    """

    def __init__(
        self,
        describe: Callable[[StreamNotice], Json | None],
        *,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self.is_caught_up = False
        self._describe = describe
        self._heartbeat_s = heartbeat_s
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._is_over = False
        self._came = asyncio.Event()

    def tell(self, notice: StreamNotice) -> None:
        """The session has something to say."""
        if self._is_over:
            return
        described = self._describe(notice)
        if described is not None:
            self._add(event(described, getattr(notice, "number", None)))
        if isinstance(notice, StreamEnded):
            self.end()

    def end(self) -> None:
        """Nothing more comes; what waits is still read."""
        self._is_over = True
        self._came.set()

    def shutdown(self) -> None:
        """The server goes down (uvicorn's name for it)."""
        self._break_off(_GOING_DOWN)

    async def work(self, outlet: Outlet) -> None:
        """Send everything as it comes, until there is no more. See `Errand`."""
        await outlet.send(b"retry: 2000\n\n")  # a lost line is tried again so soon, in ms
        while True:
            if not self._waiting and not self._is_over:
                await outlet.send(await self._next())
            elif self._waiting:
                data = self._waiting.popleft()
                self._bytes -= len(data) + EVENT_BYTES
                await outlet.send(data)
            else:
                return

    async def _next(self) -> bytes:
        """Nothing, once there is something; a sign of life, if that takes long."""
        try:
            async with asyncio.timeout(self._heartbeat_s):
                await self._came.wait()
        except TimeoutError:
            return _HEARTBEAT
        self._came.clear()
        return b""

    def _add(self, data: bytes) -> None:
        if self.is_caught_up and self._bytes > MAX_WAITING_BYTES:
            self._break_off(_TOO_SLOW)
            return
        self._waiting.append(data)
        self._bytes += len(data) + EVENT_BYTES
        self._came.set()

    def _break_off(self, why: Json) -> None:
        """What waits is given up: it can be asked for again."""
        if self._is_over:
            return
        self._waiting.clear()
        self._bytes = 0
        self._add(event({"type": "error", **why, "data": why}, None))
        self.end()


def event(described: Json, number: int | None) -> bytes:
    """As it is written; JSON has no line break of its own."""
    text = json.dumps(described, ensure_ascii=False, separators=(",", ":"))
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {described['type']}\ndata: {text}\n\n".encode(errors="replace")
