"""What the streams of all remote engines have in common: bounds on both sides, one task, and its end.

A stream is opened by a plain call, so there is no group that its task could belong to: the stream owns it, and ends
it in `aclose`. Whatever runs beside it within a stream belongs to a group.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, TypeVar

from duologue.core.errors import EngineError, first_of
from duologue.engines.base import Flush
from duologue.engines.events import EventQueue
from duologue.engines.threads import MAX_WAITING, engine_bug
from duologue.ports import EngineGone, Event, Final, Offer

T = TypeVar("T")

CLOSE_TIMEOUT_S = 5.0
"""How long a stream that is closed without haste may take to finish what was flushed."""


class _Taken(EventQueue):
    """Events, at most so many that nobody has taken."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self._taken = asyncio.Event()

    async def __anext__(self) -> Event:
        event = await super().__anext__()
        self._taken.set()
        return event

    async def room(self) -> None:
        """Return once one more may be put."""
        while len(self) >= self._limit:
            self._taken.clear()
            await self._taken.wait()


class RemoteStream(ABC):
    """One utterance or answer; see `ports.EngineStream`. To be made on the event loop.

    Args:
        max_untaken: events that nobody has taken; then nothing more is read from the server.
    """

    def __init__(self, name: str, rate_hz: int, max_untaken: int) -> None:
        self.rate_hz = rate_hz
        self._items: deque[Any] = deque()
        self._is_closing = False
        self._is_over = False
        self._moved = asyncio.Event()
        self._room = asyncio.Event()
        self._out = _Taken(max_untaken)
        self._task = asyncio.get_running_loop().create_task(self._run(), name=name)

    @abstractmethod
    async def _work(self) -> None:
        """Serve until `_take` gives None.

        Raises:
            EngineError: it cannot go on.
        """

    # --- for the session ---
    def offer(self, item: Offer) -> bool:
        """See `ports.EngineStream.offer`."""
        if self._is_over:
            return True  # `EngineGone` is on its way; whoever keeps the item offers it elsewhere
        if self._is_full:
            return False
        self._put(item)
        return True

    async def room(self) -> None:
        """See `ports.EngineStream.room`."""
        while self._is_full and not self._is_over:
            self._room.clear()
            await self._room.wait()

    def flush(self, flush_id: int) -> None:
        """See `ports.EngineStream.flush`."""
        if not self._is_over:
            self._put(Flush(flush_id))

    def events(self) -> EventQueue:
        """See `ports.EngineStream.events`."""
        return self._out

    async def aclose(self, *, cancel: bool = False) -> None:
        """See `ports.EngineStream.aclose`."""
        self._is_closing = True
        self._moved.set()
        if cancel:
            self._out.close()
            self._task.cancel()
        await asyncio.wait([self._task], timeout=CLOSE_TIMEOUT_S)
        self._task.cancel()

    # --- for the work ---
    @property
    def _is_full(self) -> bool:
        """No more is to be taken for now."""
        return len(self._items) >= MAX_WAITING

    def _put(self, item: object) -> None:
        self._items.append(item)
        self._moved.set()

    async def _take(self) -> Any:
        """The next item, in order; None once the stream is closed."""
        while not self._items:
            if self._is_closing:
                return None
            self._moved.clear()
            await self._moved.wait()
        item = self._items.popleft()
        self._room.set()
        return item

    async def _emit(self, event: Event) -> None:
        """Put an event, once there is room for it."""
        await self._out.room()
        self._out.put(event)

    async def _run(self) -> None:
        try:
            await self._work()
        except* EngineError as errors:
            self._out.put(EngineGone(_error_of(errors)))
        except* Exception as errors:  # noqa: BLE001 - an engine's outer wall: its bug costs its stream only
            self._out.put(EngineGone(engine_bug(errors.exceptions[0])))
        finally:
            self._is_over = True
            self._items.clear()
            self._out.close()
            self._room.set()


def _error_of(errors: ExceptionGroup[EngineError]) -> EngineError:
    error = first_of(errors)
    assert isinstance(error, EngineError)
    return error


async def finished(stream: RemoteStream, item: Offer) -> None:
    """Give a fresh stream one item, wait until that is dealt with, and close the stream.

    Raises:
        EngineError: it ended instead.
    """
    stream.offer(item)
    stream.flush(1)
    try:
        async for event in stream.events():
            if isinstance(event, EngineGone):
                raise event.error
            if isinstance(event, Final):
                return
    finally:
        await stream.aclose(cancel=True)
