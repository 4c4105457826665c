"""One connection to the engine server, and the streams on it."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from websockets.exceptions import ConnectionClosed

from duologue.core.audio import AudioFrame
from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import AtCapacity, EngineError, EngineLost
from duologue.engines import pipe
from duologue.engines.chain import LivePool
from duologue.engines.endpoint.wire import VIOLATION, Outbox, loading, watch
from duologue.engines.threads import MAX_UNTAKEN, MAX_WAITING, engine_bug
from duologue.engines.worker import CREDIT_BATCH
from duologue.ports import Audio, EngineGone, EngineStream, Event, Final, Say

log = logging.getLogger("duologue.engines")

PING_S = 2.0
SILENT_S = 4.0
"""A client that hangs for so long loses its streams, whose places others want."""

LOOK_S = 0.1
"""How often it is looked whether the engine is still there, or is being started again."""

SPARE_ITEMS = 64
"""Flushes are taken beyond the credit; so many more items are somebody who does not count."""

_MORE = "Try again in a few seconds, or give the engine more streams, or add another engine server."


class Landlord(Protocol):
    """The server, as its connections see it."""

    role: Role
    pool: LivePool

    @property
    def capabilities(self) -> Capabilities:
        """What the engine can do; `max_streams` of all that there are."""

    def admit(self) -> EngineError | None:
        """Take a place for a stream, to be given back with `leave`; or say why there is none."""

    def leave(self) -> None:
        """A place is free."""

    def count(self, what: str) -> None:
        """One more of these, for the metrics."""

    def answered(self, seconds: float) -> None:
        """The engine took so long from what it owed to its first answer."""

    def clock(self) -> float:
        """Seconds."""


class Guest:
    """A connection; `run` is its whole life."""

    def __init__(self, landlord: Landlord, socket: Any) -> None:
        self.landlord = landlord
        self.outbox = Outbox()
        self._socket = socket
        self._said_ready = True
        self._streams: dict[int, ServedStream] = {}

    @property
    def is_idle(self) -> bool:
        """No stream is open on it."""
        return not self._streams

    def take_leave(self) -> None:
        """Say that no stream is taken any more."""
        self.outbox.put(pipe.Ended(0))

    async def run(self) -> None:
        """Until the other end goes, hangs, or sends what is not our wire."""
        async with asyncio.TaskGroup() as tasks:
            self.outbox.put(pipe.Ready(0, self.landlord.capabilities))
            writing = tasks.create_task(self.outbox.run(self._socket), name="endpoint-out")
            watching = tasks.create_task(watch(self._socket, PING_S, SILENT_S), name="watch")
            looking = tasks.create_task(self._tell_of_the_engine(), name="look")
            try:
                await self._listen(tasks)
            finally:
                writing.cancel()
                watching.cancel()
                looking.cancel()
                for stream in self._streams.values():
                    stream.cancel()

    async def _tell_of_the_engine(self) -> None:
        """Whoever knows that it is being started again asks elsewhere, or waits."""
        while True:
            is_ready = self.landlord.pool.ready
            if is_ready and not self._said_ready:
                self.outbox.put(pipe.Ready(0, self.landlord.capabilities))
            elif self._said_ready and not is_ready:
                self.outbox.put(pipe.failure(0, loading()))
            self._said_ready = is_ready
            await asyncio.sleep(LOOK_S)

    async def _listen(self, tasks: asyncio.TaskGroup) -> None:
        try:
            async for data in self._socket:
                if not isinstance(data, bytes):
                    raise _garbled("text")
                self._handle(pipe.decode(data), tasks)
        except ConnectionClosed:
            return
        except EngineLost as error:
            self.landlord.count("garbled")
            log.warning("! a client of this engine is cut off: %s", error.message)
            await self._socket.close(VIOLATION, "not our wire")

    def _handle(self, message: pipe.Message, tasks: asyncio.TaskGroup) -> None:
        if isinstance(message, pipe.Open):
            self._open(message, tasks)
        elif (stream := self._streams.get(message.stream)) is not None:
            stream.take(message)

    def _open(self, message: pipe.Open, tasks: asyncio.TaskGroup) -> None:
        role, number = self.landlord.role, message.stream
        options = message.stt if role is Role.STT else message.tts
        if options is None or number in self._streams or number <= 0:
            raise _garbled(f"a stream {number} that cannot be opened")
        refused = self.landlord.admit()
        if refused is not None:
            if refused.code == loading().code:
                self._said_ready = False
            self.outbox.put(pipe.failure(number, refused))
            self.outbox.put(pipe.Ended(number))
            return
        stream = self._streams[number] = ServedStream(self, number)
        log.debug("< %s stream %d opens %s", role, number, message.traceparent)
        tasks.create_task(
            stream.run(lambda: self.landlord.pool.open(role, message.key, options)),
            name=f"endpoint-stream-{number}",
        )

    def ended(self, number: int) -> None:
        """A stream is over, and its place free."""
        del self._streams[number]
        self.landlord.leave()
        self.outbox.put(pipe.Ended(number))


class ServedStream:
    """One stream: what the client says of it to the engine, and back."""

    def __init__(self, guest: Guest, number: int) -> None:
        self._guest = guest
        self._number = number
        self._stream: EngineStream | None = None
        self._todo: deque[pipe.Message] = deque()
        self._offered = 0  # to the engine
        self._told = 0  # of those, whose credit was given back
        self._untaken = 0
        self._owed_since: float | None = None
        self._stirred = asyncio.Event()  # something is to be done that waits
        self._took = asyncio.Event()  # the client took an event
        self._finishing = asyncio.Event()
        self._over = asyncio.Event()

    # --- from the connection; never blocks ---
    def take(self, message: pipe.Message) -> None:
        """The client says this.

        Raises:
            EngineLost: it says what nobody may.
        """
        if isinstance(message, pipe.Taken):
            self._untaken = max(0, self._untaken - message.count)
            self._took.set()
        elif isinstance(message, pipe.Shut) and message.cancel:
            self.cancel()
        else:
            self._check(message)
            self._todo.append(message)
            if len(self._todo) + self._waiting() > MAX_WAITING + SPARE_ITEMS:
                raise _garbled("more than it has credit for")
            self._hand_on()

    def cancel(self) -> None:
        """Nobody wants the rest."""
        self._over.set()

    def _check(self, message: pipe.Message) -> None:
        item = pipe.Sound if self._guest.landlord.role is Role.STT else pipe.Text
        if not isinstance(message, item | pipe.Finish | pipe.Shut):
            raise _garbled(f"a {type(message).__name__} for {self._guest.landlord.role}")

    # --- the stream's own life ---
    async def run(self, connect: Callable[[], Any]) -> None:
        """Open it, pass everything on in both directions, and end it."""
        try:
            stream = self._stream = await connect()
            self._guest.outbox.put(pipe.Opened(self._number))
            self._guest.landlord.count("opened")
            self._hand_on()
            try:
                await self._live(stream)
            finally:
                await stream.aclose(cancel=True)
        except EngineError as error:
            self._fail(error)
            self._guest.landlord.pool.note(error)
        except Exception as error:  # noqa: BLE001 - the outer wall of an engine: its bug costs its stream only
            self._fail(engine_bug(error))
        finally:
            self._guest.ended(self._number)

    async def _live(self, stream: EngineStream) -> None:
        async with asyncio.TaskGroup() as tasks:
            rest = [
                tasks.create_task(self._feed(stream), name="feed"),
                tasks.create_task(self._pump(stream), name="pump"),
                tasks.create_task(self._finish(stream), name="finish"),
            ]
            await self._over.wait()
            for task in rest:
                task.cancel()

    async def _feed(self, stream: EngineStream) -> None:
        """Pass on what the engine had no room for, and give credit back as it takes."""
        while True:
            while not self._todo and not self._waiting():
                self._stirred.clear()
                await self._stirred.wait()
            await stream.room()
            self._hand_on()
            await asyncio.sleep(
                0
            )  # a stream that is over has room at once, and its end needs a turn

    async def _pump(self, stream: EngineStream) -> None:
        async for event in stream.events():
            if isinstance(event, EngineGone):
                self._fail(event.error)
                self._guest.landlord.pool.note(event.error)
                break
            self._measure(event)
            self._guest.outbox.put(pipe.told(self._number, event))
            self._untaken += 1
            while self._untaken >= MAX_UNTAKEN:
                self._took.clear()
                await self._took.wait()
            await self._guest.outbox.room()
        self._over.set()

    async def _finish(self, stream: EngineStream) -> None:
        await self._finishing.wait()
        await stream.aclose()

    def _fail(self, error: EngineError) -> None:
        self._guest.landlord.count("failed")
        self._guest.outbox.put(pipe.failure(self._number, error))

    def _hand_on(self) -> None:
        """As much as the engine takes, in order; and credit for what it took."""
        stream = self._stream
        while self._todo and stream is not None:
            message = self._todo[0]
            match message:
                case pipe.Shut():
                    self._finishing.set()
                case pipe.Finish(flush_id=flush_id):
                    self._owe()
                    stream.flush(flush_id)
                    self._offered += 1
                case pipe.Sound(pcm=pcm, start=start):
                    if not stream.offer(AudioFrame(pcm, start)):
                        break
                    self._offered += 1
                case pipe.Text(number=piece, text=text):
                    if not stream.offer(Say(piece, text)):
                        break
                    self._owe()
                    self._offered += 1
                case _:
                    pass
            self._todo.popleft()
        self._stirred.set()
        taken = self._offered - self._waiting() - self._told
        if taken >= CREDIT_BATCH:
            self._told += taken
            self._guest.outbox.put(pipe.Took(self._number, taken))

    def _waiting(self) -> int:
        """Items that the engine was given and has not taken; an engine on the event loop takes at once."""
        return getattr(self._stream, "waiting", 0)

    def _owe(self) -> None:
        if self._owed_since is None:
            self._owed_since = self._guest.landlord.clock()

    def _measure(self, event: Event) -> None:
        if self._owed_since is not None and isinstance(event, Final | Audio):
            landlord = self._guest.landlord
            landlord.answered(landlord.clock() - self._owed_since)
            self._owed_since = None


def full(role: Role, streams: int) -> EngineError:
    """The refusal of a full server."""
    return AtCapacity(
        f"{role}_at_capacity", f"All {streams} {role} streams are taken.", remedy=_MORE
    )


def _garbled(what: str) -> EngineLost:
    return EngineLost("engine_garbled", f"The other end of an engine sent {what}.")
