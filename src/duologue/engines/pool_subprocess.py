"""Engines in processes of their own: those that hold the GIL, may crash, or whose licence asks for it.

A session keeps to one process, where an engine may remember its speaker, unless that one is full. A process
that dies costs its streams (each ends with `EngineGone`), and another is started in its place at once.
"""

import asyncio
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from zlib import crc32

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineError, EngineLost, EngineUnavailable
from duologue.engines import pipe
from duologue.engines.base import EngineSpec
from duologue.engines.loading import as_engine_error
from duologue.engines.piped import PipedStream, opening
from duologue.engines.pool_inprocess import at_capacity
from duologue.ports import EngineStream, StreamOptions

log = logging.getLogger("duologue.engines")

START_TIMEOUT_S = 120.0
"""Loading and warming up; large models on slow disks take a minute."""

STOP_TIMEOUT_S = 2.0

SHORT_LIFE_S = 2.0
"""A process that ends sooner than this after its start is not started again at once."""

RETRY_MOST_S = 30.0
"""The wait between attempts to start a process doubles up to this."""

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
        self._children = [
            _Child(spec.role, name, self._is_gone) for _ in range(wanted or os.cpu_count() or 1)
        ]
        self._tasks = asyncio.TaskGroup()
        self._revivals: set[asyncio.Task[None]] = set()
        self._starts: dict[_Child, asyncio.Task[EngineError | None]] = {}
        self._is_up = False

    async def __aenter__(self) -> "SubprocessPool":
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
        await self._tasks.__aexit__(None, None, None)

    async def aclose(self) -> None:
        """Hang up on all processes; streams that are open are lost."""
        self._is_up = False
        for task in (*self._revivals, *self._starts.values()):
            task.cancel()
        for child in self._children:
            child.stop()

    @property
    def capabilities(self) -> Capabilities:
        """What the engine can do, as its processes said."""
        return self._children[0].capabilities or self.spec.capabilities

    @property
    def streams(self) -> int:
        """Open ones."""
        return sum(len(child.streams) for child in self._children)

    @property
    def ready(self) -> bool:
        """A process is there that takes streams."""
        return any(child.is_ready for child in self._children)

    @property
    def spares(self) -> int:
        """Processes that are well, where there is more than one."""
        if len(self._children) < 2:
            return 0
        return sum(child.is_ready and not child.is_leaving for child in self._children)

    @property
    def attempts(self) -> int:
        """One on each process that is there, and one on a process that was started again; three are enough."""
        return min(3, len(self._children) + 1)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes, for whoever measures their memory."""
        return tuple(child.pid for child in self._children if child.pid is not None)

    def note(self, error: EngineError) -> None:
        """A process that is gone is started again without being told."""

    async def start(self) -> None:
        """Start all processes, one after another: each is loaded and has run before the next begins.

        Raises:
            EngineError: one could not be loaded.
        """
        for child in self._children:
            await child.start(self._tasks)
        self._is_up = True

    async def open(self, role: Role, key: str, options: StreamOptions) -> EngineStream:
        """See `ports.EnginePool.open`. Waits only where every process is being started again."""
        child = self._choose(role, key)
        await self._started(child)
        return child.open(key, options)

    async def _started(self, child: "_Child") -> None:
        """Have it started, unless it is there. The start belongs to the pool: it goes on though who waits gives up.

        Raises:
            EngineError: it cannot be, or the pool is closed.
        """
        if child.is_ready:
            return
        if not self._is_up:
            raise self._closed()
        task = self._starts.get(child)
        if task is None:
            task = self._tasks.create_task(child.try_start(self._tasks), name="engine-start")
            self._starts[child] = task
            task.add_done_callback(lambda _: self._starts.pop(child, None))
        await asyncio.wait([task])
        error = self._closed() if task.cancelled() else task.result()
        if error is not None:
            raise error

    def _closed(self) -> EngineLost:
        return EngineLost("engine_closed", f"{self.spec.name} was closed.")

    def _choose(self, role: Role, key: str) -> "_Child":
        """The session's own process, unless that is gone, hangs or is full; then the least busy."""
        limit = self.capabilities.max_streams
        home = self._children[crc32(key.encode()) % len(self._children)]
        if home.is_ready and not home.is_leaving and len(home.streams) < limit:
            return home
        least = min(
            self._children, key=lambda c: (not c.is_ready, len(c.streams) >= limit, c.burden)
        )
        if len(least.streams) >= limit:
            raise at_capacity(role, limit * len(self._children))
        return least

    def _is_gone(self, child: "_Child", after_s: float) -> None:
        """A process ended that had been ready for so long."""
        if self._is_up:
            self.restarts += 1
            waits_s = 0.0 if after_s > SHORT_LIFE_S else SHORT_LIFE_S / 2
            task = self._tasks.create_task(self._revive(child, waits_s), name="engine-revival")
            self._revivals.add(task)
            task.add_done_callback(self._revivals.discard)

    async def _revive(self, child: "_Child", waits_s: float) -> None:
        while True:
            await asyncio.sleep(waits_s)
            log.warning("! %s: its process is gone, starting another", self.spec.name)
            try:
                await self._started(child)
            except EngineError as error:
                waits_s = min(max(1.0, waits_s * 2), RETRY_MOST_S)
                log.warning("! %s again in %.0f s: %s", self.spec.name, waits_s, error)
            else:
                return


class _Child:
    """One process and the streams on it.

    Args:
        gone: told when the process ends that was ready, and for how long it was.
    """

    def __init__(self, role: Role, name: str, gone: "Callable[[_Child, float], None]") -> None:
        self._role = role
        self._name = name
        self._gone = gone
        self._process: Process | None = None
        self._starting = asyncio.Lock()
        self._ready_since: float | None = None
        self._numbers = 0
        self.capabilities: Capabilities | None = None
        self.streams: dict[int, PipedStream] = {}

    @property
    def is_ready(self) -> bool:
        """It has loaded, and lives."""
        return self._ready_since is not None

    @property
    def is_leaving(self) -> bool:
        """A stream of it was cancelled and has not ended yet: within milliseconds, unless the process hangs."""
        return any(stream.is_cancelled for stream in self.streams.values())

    @property
    def burden(self) -> tuple[bool, int]:
        """By which the least busy is found."""
        return self.is_leaving, len(self.streams)

    @property
    def pid(self) -> int | None:
        """Of the process, while it lives."""
        return self._process.pid if self._process is not None and self.is_ready else None

    async def try_start(self, tasks: asyncio.TaskGroup) -> EngineError | None:
        """Start it; why not, instead of an error that would end the group of tasks."""
        try:
            await self.start(tasks)
        except EngineError as error:
            return error
        return None

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Start it, unless it is there.

        Raises:
            EngineError: it cannot be started, or its engine cannot be loaded.
        """
        async with self._starting:
            if self.is_ready:
                return
            process = self._process = await self._spawn()
            ready: asyncio.Future[Capabilities] = asyncio.get_running_loop().create_future()
            tasks.create_task(self._listen(process, ready), name=f"engine-{self._name}")
            try:
                async with asyncio.timeout(START_TIMEOUT_S):
                    self.capabilities = await ready
            except TimeoutError as error:
                message = f"{self._name} did not start within {START_TIMEOUT_S:g} s."
                raise EngineUnavailable("engine_start_timed_out", message) from error
            finally:
                if not self.is_ready:
                    _kill(process)

    async def _spawn(self) -> Process:
        level = str(log.getEffectiveLevel())
        command = [sys.executable, "-m", "duologue.engines.worker", self._role, self._name, level]
        try:
            return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
        except OSError as error:
            raise as_engine_error(error) from error

    def stop(self) -> None:
        """Hang up: the process ends when its input does, or is killed a little later."""
        process = self._process
        if process is not None and process.returncode is None:
            assert process.stdin is not None
            process.stdin.close()
            asyncio.get_running_loop().call_later(STOP_TIMEOUT_S, _kill, process)

    def open(self, key: str, options: StreamOptions) -> "PipedStream":
        """A stream; the process must be there."""
        self._numbers += 1
        assert self.capabilities is not None
        stream = PipedStream(self, self._numbers, self.capabilities.rate_hz)
        self.streams[self._numbers] = stream
        self.send(opening(self._numbers, key, options))
        return stream

    def send(self, message: pipe.Message) -> None:
        """Tell the process something, while it is there."""
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
            self._ready_since = asyncio.get_running_loop().time()
            if not ready.done():
                ready.set_result(message.capabilities)
            return
        if isinstance(message, pipe.Failed) and message.stream == 0:
            if not ready.done():
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
        since, self._ready_since = self._ready_since, None
        for stream in streams.values():
            error = EngineLost("engine_process_lost", f"{self._name} broke off. {reason}")
            stream.lost(error)
        if since is not None:
            self._gone(self, asyncio.get_running_loop().time() - since)


def _kill(process: Process) -> None:
    if process.returncode is None:
        process.kill()
