"""A stream's way out: events in order, to be iterated on the event loop."""

import asyncio
from collections import deque

from duologue.ports import EngineGone, Event


class EventQueue:
    """Events of one stream, put on the event loop's thread.

    Waiting for the next may be timed out and taken up again: nothing is lost. The bound is kept by the
    putter, who looks at `len`.
    """

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._moved = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Event) -> None:
        """The next event; after `EngineGone`, or once closed, nothing is taken any more."""
        if not self._closed:
            self._events.append(event)
            self._closed = isinstance(event, EngineGone)
            self._moved.set()

    def close(self) -> None:
        """No more events come."""
        self._closed = True
        self._moved.set()

    def __aiter__(self) -> "EventQueue":
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._closed:
                raise StopAsyncIteration
            self._moved.clear()
            await self._moved.wait()
        return self._events.popleft()
