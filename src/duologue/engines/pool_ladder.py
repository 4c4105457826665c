"""One engine on the highest rung that memory bears: what to fall back to when it runs out, prepared beforehand.

    whisper:large-v3-turbo@cuda:0/float16 > whisper:large-v3-turbo@cuda:0/int8 > whisper:small@cpu

Only one rung is loaded at a time. The second that memory runs out on a rung within a minute, its engine is given up,
so that the memory is free, and the next is loaded; streams that were open are lost, and taken up again by
whoever kept their sound. There is no way up but a new start: what has once not fitted will not fit the next time.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import DuologueError, EngineError, EngineLost, EngineOutOfMemory
from duologue.engines.loading import as_engine_error
from duologue.engines.pool_inprocess import at_capacity
from duologue.engines.shortages import SHORTAGES, Shortages
from duologue.ports import EngineStream, StreamOptions

log = logging.getLogger("duologue.engines")

AGAIN_S = 1.0
AGAIN_MOST_S = 30.0
"""The wait before the lowest rung is tried again that could not be loaded at work, doubling up to the second."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One form of the engine; `make` gives a pool that is not started, and is used as `async with`."""

    name: str
    make: Callable[[], Any]


class LadderPool:
    """Streams of an engine that may have to become smaller. To be used as `async with`.

    Args:
        rungs: the best first; at least one.

    Attributes:
        rung: the number of the one that is loaded.
    """

    def __init__(self, rungs: Sequence[Rung]) -> None:
        self.rung = 0
        self._rungs = rungs
        self._pool: Any = None
        self._last_pool: Any = None  # for what it could do, while the next is loaded
        self._limit: int | None = None
        self._shortages = Shortages()
        self._moved = asyncio.Event()
        self._too_high = asyncio.Event()
        self._error: EngineError | None = None
        self._tasks = asyncio.TaskGroup()
        self._life: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "LadderPool":
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._life is not None:
            self._life.cancel()
        await self._tasks.__aexit__(None, None, None)

    @property
    def name(self) -> str:
        """The rung's."""
        return self._rungs[self.rung].name

    @property
    def shortages(self) -> int:
        """How often memory ran out."""
        return self._shortages.count

    @property
    def capabilities(self) -> Capabilities:
        """What the engine can do on its rung; on its last one, while the next is loaded."""
        found: Capabilities = (self._pool or self._last_pool).capabilities
        return found

    @property
    def streams(self) -> int:
        """Open ones."""
        return 0 if self._pool is None else int(self._pool.streams)

    @property
    def ready(self) -> bool:
        """A rung is loaded and takes streams."""
        return self._moved.is_set() and self._pool is not None and bool(self._pool.ready)

    @property
    def spares(self) -> int:
        """Those of the rung."""
        return 0 if self._pool is None else int(self._pool.spares)

    @property
    def attempts(self) -> int:
        """So many as it takes to get down from every rung, and work on the lowest."""
        return SHORTAGES * len(self._rungs) + 1

    @property
    def pids(self) -> tuple[int, ...]:
        """The rung's processes, where it has any of its own."""
        return getattr(self._pool, "pids", ())

    async def start(self) -> None:
        """Load the highest rung that fits.

        Raises:
            EngineError: the last one's, if none does; the first that has nothing to do with memory.
        """
        self._life = self._tasks.create_task(self._live(), name="engine-ladder")
        await self._moved.wait()
        if self._error is not None:
            raise self._error

    def note(self, error: EngineError) -> None:
        """A stream ended so: count it, if it was for want of memory."""
        if self._pool is None:
            return
        self._pool.note(error)
        if not isinstance(error, EngineOutOfMemory):
            return
        is_often = self._shortages.note(asyncio.get_running_loop().time())
        self._limit = max(1, self.capabilities.max_streams // 2)
        if is_often and self.rung + 1 < len(self._rungs):
            self._too_high.set()
            self._moved.clear()

    async def open(self, role: Role, key: str, options: StreamOptions) -> EngineStream:
        """See `ports.EnginePool.open`. Waits while the next rung is loaded."""
        await self._moved.wait()
        if self._error is not None:
            raise self._error
        if self._pool is None:
            raise EngineLost(f"{role}_not_loaded", f"{self.name} is not loaded.")
        if self._limit is not None and self.streams >= self._limit:
            raise at_capacity(role, self._limit)
        stream: EngineStream = await self._pool.open(role, key, options)
        return stream

    async def _live(self) -> None:
        """One rung after the other, each from its load until memory ran out on it; the lowest for ever."""
        for number, rung in enumerate(self._rungs):
            self.rung = number
            if await self._stand_on(rung):
                continue
            wait_s = AGAIN_S
            while self._error is not None and self._last_pool is not None:
                await asyncio.sleep(wait_s)  # it worked before, and may again
                wait_s = min(2 * wait_s, AGAIN_MOST_S)
                await self._stand_on(rung)
            if self._error is not None:
                return

    async def _stand_on(self, rung: Rung) -> bool:
        """Load it and stay on it as long as it bears; whether the next is to be tried."""
        try:
            made = rung.make()
        except DuologueError as error:
            return self._refuse(as_engine_error(error), rung)
        async with made as pool:
            try:
                await pool.start()
            except EngineError as error:
                return self._refuse(error, rung)
            self._is_on(pool, rung)
            await self._too_high.wait()
            log.warning("! %s: memory ran out twice; it is given up", rung.name)
            self._pool, self._last_pool = None, pool
        return True

    def _refuse(self, error: EngineError, rung: Rung) -> bool:
        """This rung cannot be had; whether one below is worth trying. `_error` is set where none is."""
        log.warning("! %s cannot be loaded: %s", rung.name, error)
        may_fit = isinstance(error, EngineOutOfMemory) or self._last_pool is not None
        if self.rung + 1 < len(self._rungs) and may_fit:
            return True
        self._error = error
        self._too_high.clear()
        self._moved.set()
        return False

    def _is_on(self, pool: Any, rung: Rung) -> None:
        self._pool, self._limit, self._error = pool, None, None
        self._shortages.begin_anew()
        self._too_high.clear()
        self._moved.set()
        if self.rung:
            log.warning("= %s is used from now on", rung.name)
