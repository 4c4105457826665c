"""Engines in this process: native ones on the event loop, blocking ones in a thread a stream."""

import asyncio
import logging

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import AtCapacity, EngineError
from duologue.engines.base import BlockingEngine, Flush, NativeEngine
from duologue.engines.events import EventQueue
from duologue.engines.loading import bring_up_apart
from duologue.engines.threads import StreamThread
from duologue.ports import EngineStream, Event, Offer, StreamOptions

log = logging.getLogger("duologue.engines")

CLOSE_TIMEOUT_S = 2.0
"""How long a stream's thread may take to notice that nobody wants it."""


class InProcessPool:
    """Streams of one engine. May be used as `async with`.

    Attributes:
        streams: open ones.
    """

    def __init__(self, engine: BlockingEngine | NativeEngine) -> None:
        self.engine = engine
        self.streams = 0

    async def __aenter__(self) -> "InProcessPool":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def capabilities(self) -> Capabilities:
        """What the engine can do."""
        return self.engine.capabilities

    async def start(self) -> None:
        """Load the engine and run it once."""
        await bring_up_apart(self.engine)

    async def aclose(self) -> None:
        """Give the engine back; streams that are open are lost."""
        if isinstance(self.engine, NativeEngine):
            await self.engine.aclose()
        else:  # which may wait for the work in progress
            await asyncio.to_thread(self.engine.close)

    @property
    def ready(self) -> bool:
        """Always: it lives as long as this process."""
        return True

    @property
    def spares(self) -> int:
        """None: there is one engine."""
        return 0

    @property
    def attempts(self) -> int:
        """A second one, in case it was chance."""
        return 2

    def note(self, error: EngineError) -> None:
        """Nothing can be done about it here."""

    async def open(self, role: Role, key: str, options: StreamOptions) -> EngineStream:
        """See `ports.EnginePool.open`."""
        if self.streams >= self.capabilities.max_streams:
            raise at_capacity(role, self.capabilities.max_streams)
        stream: EngineStream
        if isinstance(self.engine, NativeEngine):
            stream = _Counted(self.engine.open(key, options), self)
        else:
            stream = _ThreadedStream(self.engine, options, self)
        self.streams += 1  # not before: what cannot be opened takes no place
        return stream

    def gave_back(self) -> None:
        """A stream is over."""
        self.streams -= 1


def at_capacity(role: Role, streams: int) -> AtCapacity:
    """The refusal of a full engine."""
    return AtCapacity(
        f"{role}_at_capacity",
        f"All {streams} {role} streams are taken.",
        remedy="Try again in a few seconds, or give the engine more processes.",
    )


class _Counted:
    """A native stream, and the place that it takes."""

    def __init__(self, stream: EngineStream, pool: InProcessPool) -> None:
        self._stream = stream
        self._pool: InProcessPool | None = pool
        self.rate_hz = stream.rate_hz
        self.offer = stream.offer
        self.flush = stream.flush
        self.events = stream.events
        self.room = stream.room

    async def aclose(self, *, cancel: bool = False) -> None:
        if self._pool is not None:
            self._pool.gave_back()
            self._pool = None
        await self._stream.aclose(cancel=cancel)


class _Taken(EventQueue):
    """Tells the stream's thread whenever an event was taken."""

    thread: StreamThread

    async def __anext__(self) -> Event:
        event = await super().__anext__()
        self.thread.taken()
        return event


class _ThreadedStream:
    """A blocking engine's stream, seen from the event loop."""

    def __init__(self, engine: BlockingEngine, options: StreamOptions, pool: InProcessPool) -> None:
        self.rate_hz = engine.capabilities.rate_hz
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._events = _Taken()
        self._room = asyncio.Event()
        self._done = asyncio.Event()
        call = self._loop.call_soon_threadsafe
        self._thread = StreamThread(
            engine,
            options,
            emit=lambda event: _ignore_closed(call, self._events.put, event),
            on_taken=lambda: _ignore_closed(call, self._room.set),
            on_done=lambda: _ignore_closed(call, self._finish),
        )
        self._events.thread = self._thread

    @property
    def waiting(self) -> int:
        return len(self._thread.inbox)

    def offer(self, item: Offer) -> bool:
        return self._thread.put(item)

    async def room(self) -> None:
        if not (self._done.is_set() or self._thread.inbox.cancelled):
            self._room.clear()
            await self._room.wait()

    def flush(self, flush_id: int) -> None:
        self._thread.put(Flush(flush_id))

    def events(self) -> EventQueue:
        return self._events

    async def aclose(self, *, cancel: bool = False) -> None:
        self._thread.close(cancel=cancel)
        if cancel:
            self._events.close()
            self._room.set()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._done.wait()
        except TimeoutError:  # it keeps its place until it ends: the pool's count stays honest
            log.warning("! a stream of %s does not end", type(self._pool.engine).__name__)

    def _finish(self) -> None:
        if not self._done.is_set():
            self._done.set()
            self._room.set()  # whoever waits for it finds that everything is taken, and lost
            self._events.close()
            self._pool.gave_back()


def _ignore_closed(call, *what) -> None:  # type: ignore[no-untyped-def]
    """The loop may be gone before a stream's thread has noticed: then nobody waits for the news."""
    try:
        call(*what)
    except RuntimeError:
        return
