"""Engines in processes of their own: those that hold the GIL, may crash, or whose licence asks for it.

A session keeps to one process, where an engine may remember its speaker, unless that one is full. A process
that dies costs its streams (each ends with `EngineGone`), and is started again for the next.
"""

import asyncio
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from zlib import crc32

from duologue.core.audio import AudioFrame
from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineError, EngineLost, EngineUnavailable
from duologue.engines import pipe
from duologue.engines.base import EngineSpec
from duologue.engines.events import EventQueue
from duologue.engines.pool_inprocess import at_capacity
from duologue.engines.threads import MAX_WAITING
from duologue.ports import (
    Audio,
    EngineGone,
    EngineStream,
    Event,
    Final,
    Offer,
    Partial,
    StreamOptions,
    SttOptions,
    TtsOptions,
)

log = logging.getLogger("duologue.engines")

START_TIMEOUT_S = 120.0
"""Loading and warming up; large models on slow disks take a minute."""

STOP_TIMEOUT_S = 2.0

HUNG_S = 10.0
"""A stream that was cancelled ends within 50 ms by the engines' contract, and after seconds on a machine that is far
behind; if it has not by then, its process hangs and is replaced."""

READ_BYTES = 64 * 1024


class SubprocessPool:
    """Streams of one engine, spread over some processes. To be used as `async with`.

    Attributes:
        restarts: processes that had to be started again.
    """

    def __init__(
        self, spec: EngineSpec, argument: str = "", *, processes: int | None = None
    ) -> None:
        self.spec = spec
        self.restarts = 0
        wanted = spec.processes if processes is None else processes
        name = f"{spec.name}:{argument}" if argument else spec.name
        self._children = [_Child(spec.role, name) for _ in range(wanted or os.cpu_count() or 1)]
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> "SubprocessPool":
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        for child in self._children:
            child.stop()
        await self._tasks.__aexit__(None, None, None)

    @property
    def capabilities(self) -> Capabilities:
        """What the engine can do, as its processes said."""
        return self._children[0].capabilities or self.spec.capabilities

    @property
    def streams(self) -> int:
        """Open ones."""
        return sum(len(child.streams) for child in self._children)

    async def start(self) -> None:
        """Start all processes, one after another: each is loaded and has run before the next begins.

        Raises:
            EngineError: one could not be loaded.
        """
        for child in self._children:
            await child.start(self._tasks)

    async def open(self, role: Role, key: str, options: StreamOptions) -> EngineStream:
        """See `ports.EnginePool.open`."""
        child = self._choose(role, key)
        if not child.is_alive:
            self.restarts += 1
            log.warning("! %s: its process is gone, starting another", self.spec.name)
            await child.start(self._tasks)
        return child.open(key, options)

    def _choose(self, role: Role, key: str) -> "_Child":
        limit = self.capabilities.max_streams
        home = self._children[crc32(key.encode()) % len(self._children)]
        if len(home.streams) < limit:
            return home
        least = min(self._children, key=lambda child: len(child.streams))
        if len(least.streams) >= limit:
            raise at_capacity(role, limit * len(self._children))
        return least


class _Child:
    """One process and the streams on it."""

    def __init__(self, role: Role, name: str) -> None:
        self._role = role
        self._name = name
        self._process: Process | None = None
        self._starting = asyncio.Lock()
        self._ready: asyncio.Future[Capabilities] | None = None
        self._numbers = 0
        self.capabilities: Capabilities | None = None
        self.streams: dict[int, _PipedStream] = {}

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        async with self._starting:
            if self.is_alive:
                return
            command = [sys.executable, "-m", "duologue.engines.worker", self._role, self._name]
            process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
            self._process = process
            self._ready = asyncio.get_running_loop().create_future()
            tasks.create_task(self._listen(process, self._ready), name=f"engine-{self._name}")
            try:
                async with asyncio.timeout(START_TIMEOUT_S):
                    self.capabilities = await self._ready
            except TimeoutError as error:
                process.kill()
                message = f"{self._name} did not start within {START_TIMEOUT_S:g} s."
                raise EngineUnavailable("engine_start_timed_out", message) from error

    def stop(self) -> None:
        """Hang up: the process ends when its input does, or is killed a little later."""
        process = self._process
        if process is not None and process.returncode is None:
            assert process.stdin is not None
            process.stdin.close()
            asyncio.get_running_loop().call_later(STOP_TIMEOUT_S, _kill, process)

    def open(self, key: str, options: StreamOptions) -> "_PipedStream":
        self._numbers += 1
        assert self.capabilities is not None
        stream = _PipedStream(self, self._numbers, self.capabilities.rate_hz)
        self.streams[self._numbers] = stream
        stt = options if isinstance(options, SttOptions) else None
        tts = options if isinstance(options, TtsOptions) else None
        self.send(pipe.Open(self._numbers, key, stt, tts))
        return stream

    def send(self, message: pipe.Message) -> None:
        process = self._process
        if process is not None and process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(pipe.frame(message))

    async def _listen(self, process: Process, ready: "asyncio.Future[Capabilities]") -> None:
        assert process.stdout is not None
        frames, reason = pipe.Frames(), ""
        try:
            while data := await process.stdout.read(READ_BYTES):
                for message in frames.push(data):
                    self._handle(message, ready)
        except EngineError as error:
            reason = error.message
            _kill(process)
        code = await process.wait()
        self._lost(ready, reason or f"Its process ended with exit code {code}.")

    def _handle(self, message: pipe.Message, ready: "asyncio.Future[Capabilities]") -> None:
        if isinstance(message, pipe.Ready):
            ready.set_result(message.capabilities)
            return
        if isinstance(message, pipe.Failed) and message.stream == 0:
            ready.set_exception(pipe.revive(message))
            return
        stream = self.streams.get(message.stream)
        if isinstance(message, pipe.Ended):
            self.streams.pop(message.stream, None)
        if stream is not None:
            stream.handle(message)

    def check(self, number: int) -> None:
        """Kill the process if this stream, cancelled long ago, is still at work in it."""
        if number in self.streams and self._process is not None:
            log.warning("! %s does not answer any more; its process is killed", self._name)
            _kill(self._process)

    def _lost(self, ready: "asyncio.Future[Capabilities]", reason: str) -> None:
        if not ready.done():
            text = f"{self._name} could not be started. {reason}"
            ready.set_exception(EngineUnavailable("engine_start_failed", text))
        streams, self.streams = self.streams, {}
        for stream in streams.values():
            error = EngineLost("engine_process_lost", f"{self._name} broke off. {reason}")
            stream.lost(error)


class _PipedStream:
    """A stream in the other process, seen from the event loop."""

    def __init__(self, child: _Child, number: int, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._child = child
        self._number = number
        self._events = _Credited(self)
        self._waiting = 0
        self._room = asyncio.Event()
        self._ended = asyncio.Event()

    def offer(self, item: Offer) -> bool:
        if self._ended.is_set():
            return True  # `EngineGone` is on its way; whoever keeps the sound offers it elsewhere
        if self._waiting >= MAX_WAITING:
            return False
        self._waiting += 1
        if isinstance(item, AudioFrame):
            self._child.send(pipe.Sound(self._number, item.pcm, item.start))
        else:
            self._child.send(pipe.Text(self._number, item.number, item.text))
        return True

    async def room(self) -> None:
        self._room.clear()
        await self._room.wait()

    def flush(self, flush_id: int) -> None:
        self._waiting += 1
        self._child.send(pipe.Finish(self._number, flush_id))

    def events(self) -> EventQueue:
        return self._events

    async def aclose(self, *, cancel: bool = False) -> None:
        self._child.send(pipe.Shut(self._number, cancel))
        if cancel:
            self._events.close()
            if (
                not self._ended.is_set()
            ):  # the other process keeps its place until it has ended there
                asyncio.get_running_loop().call_later(HUNG_S, self._child.check, self._number)
            return
        await self._ended.wait()

    def taken(self) -> None:
        self._child.send(pipe.Taken(self._number, 1))

    def handle(self, message: pipe.Message) -> None:
        match message:
            case pipe.Took(count=count):
                self._waiting -= count
                self._room.set()
            case pipe.Guess(text=text):
                self._events.put(Partial(text))
            case pipe.Finished():
                self._events.put(_final(message))
            case pipe.Speech(number=number, pcm=pcm, words=places):
                self._events.put(Audio(number, pcm, places))
            case pipe.Failed():
                self._events.put(EngineGone(pipe.revive(message)))
            case pipe.Ended():
                self._over()
            case _:
                pass

    def lost(self, error: EngineError) -> None:
        self._events.put(EngineGone(error))
        self._over()

    def _over(self) -> None:
        self._events.close()
        self._room.set()
        self._ended.set()


class _Credited(EventQueue):
    """Tells the other process whenever an event was taken."""

    def __init__(self, stream: _PipedStream) -> None:
        super().__init__()
        self._stream = stream

    async def __anext__(self) -> Event:
        event = await super().__anext__()
        self._stream.taken()
        return event


def _kill(process: Process) -> None:
    if process.returncode is None:
        process.kill()


def _final(told: pipe.Finished) -> Final:
    return Final(told.flush_id, told.upto, told.text, told.words, told.confidence)
