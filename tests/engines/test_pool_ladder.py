"""Engines that run out of memory, and what takes their place."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from duologue.core.audio import AudioFrame
from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import (
    AtCapacity,
    EngineError,
    EngineLost,
    EngineOutOfMemory,
    EngineUnavailable,
    SetupError,
)
from duologue.engines import pool_ladder
from duologue.engines.chain import Link
from duologue.engines.events import EventQueue
from duologue.engines.pool_ladder import LadderPool, Rung
from duologue.engines.resilient import ResilientPool
from duologue.ports import EngineGone, Final, Offer, SttOptions

NO_MEMORY = EngineOutOfMemory("engine_out_of_memory", "There is no memory.")


class Engine:
    """A pool of one rung: `load` is what its start raises; each flush fails for want of memory `shortages` times."""

    def __init__(
        self, name: str, load: EngineError | None = None, shortages: int = 0, alive: Any = None
    ) -> None:
        self.name = name
        self._load = load
        self.shortages = shortages
        self._alive: list[str] = alive if alive is not None else []
        self.capabilities = Capabilities(max_streams=4)
        self.streams = 0
        self.spares = 0
        self.attempts = 2
        self.ready = True
        self.noted = 0

    async def __aenter__(self) -> "Engine":
        assert not self._alive, "two rungs are in memory at once"
        self._alive.append(self.name)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._alive.remove(self.name)

    async def start(self) -> None:
        if self._load is not None:
            raise self._load

    def note(self, error: EngineError) -> None:
        self.noted += 1

    async def open(self, role: Role, key: str, options: Any) -> "Stream":
        return Stream(self)


class Stream:
    rate_hz = 16_000

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._out = EventQueue()
        self._samples = 0
        engine.streams += 1

    def offer(self, item: Offer) -> bool:
        assert isinstance(item, AudioFrame)
        self._samples = item.end
        return True

    async def room(self) -> None:
        raise AssertionError

    def flush(self, flush_id: int) -> None:
        if self._engine.shortages:
            self._engine.shortages -= 1
            self._out.put(EngineGone(NO_MEMORY))
        else:
            self._out.put(Final(flush_id, self._samples, self._engine.name))

    def events(self) -> EventQueue:
        return self._out

    async def aclose(self, *, cancel: bool = False) -> None:
        self._engine.streams -= 1
        self._out.close()


@asynccontextmanager
async def ladder(*engines: Engine) -> AsyncIterator[LadderPool]:
    alive: list[str] = []
    for engine in engines:
        engine._alive = alive
    async with LadderPool([Rung(e.name, lambda e=e: e) for e in engines]) as pool:  # type: ignore[misc]
        yield pool
    assert not alive


async def hear(pool: Any) -> str:
    """An utterance through the resilient pool: the name of the engine that understood it."""
    stream = await ResilientPool({Role.STT: [Link("ladder", pool)]}).open(
        Role.STT, "s", SttOptions()
    )
    stream.offer(AudioFrame(bytes(1024), 0))
    stream.flush(1)
    async with asyncio.timeout(5):
        async for event in stream.events():
            await stream.aclose()
            if isinstance(event, EngineGone):
                raise event.error
            assert isinstance(event, Final)
            assert event.upto == 512
            return event.text
    raise AssertionError


async def test_the_highest_rung_that_fits_is_loaded() -> None:
    async with ladder(Engine("large", NO_MEMORY), Engine("small"), Engine("tiny")) as pool:
        await pool.start()
        assert (pool.rung, pool.name, pool.ready) == (1, "small", True)
        assert await hear(pool) == "small"


async def test_where_none_fits_the_last_ones_reason_is_told() -> None:
    other = EngineUnavailable("missing", "A file is missing.")
    for engines, code in (
        ([Engine("large", NO_MEMORY), Engine("small", NO_MEMORY)], "engine_out_of_memory"),
        ([Engine("large", other), Engine("small")], "missing"),
    ):
        async with ladder(*engines) as pool:
            with pytest.raises(EngineError) as raised:
                await pool.start()
            assert raised.value.code == code


async def test_one_shortage_costs_room_and_the_second_moves_a_rung_down_with_nothing_lost() -> None:
    large, small = Engine("large", shortages=2), Engine("small")
    async with ladder(large, small) as pool:
        await pool.start()
        assert await hear(pool) == "small"
        assert (pool.rung, pool.shortages, large.noted) == (1, 2, 2)
        assert await hear(pool) == "small"


async def test_after_a_shortage_half_the_streams_are_taken() -> None:
    async with ladder(Engine("large", shortages=1), Engine("small")) as pool:
        await pool.start()
        assert await hear(pool) == "large"
        streams = [await pool.open(Role.STT, str(n), SttOptions()) for n in range(2)]
        with pytest.raises(AtCapacity):
            await pool.open(Role.STT, "third", SttOptions())
        for stream in streams:
            await stream.aclose()


async def test_other_losses_and_shortages_long_ago_move_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with ladder(Engine("large"), Engine("small")) as pool:
        await pool.start()
        for _ in range(5):
            pool.note(EngineLost("lost", "Lost."))
        pool.note(NO_MEMORY)
        loop = asyncio.get_running_loop()
        later = loop.time() + 61
        monkeypatch.setattr(loop, "time", lambda: later)
        pool.note(NO_MEMORY)
        assert (pool.rung, pool.ready) == (0, True)
        monkeypatch.undo()
        assert await hear(pool) == "large"


async def test_a_rung_below_that_cannot_be_loaded_is_passed_and_where_all_fail_that_is_told() -> (
    None
):
    missing = EngineUnavailable("missing", "A file is missing.")
    async with ladder(
        Engine("large", shortages=2), Engine("small", missing), Engine("tiny")
    ) as pool:
        await pool.start()
        assert await hear(pool) == "tiny"
    async with ladder(Engine("large", shortages=2), Engine("small", missing)) as pool:
        await pool.start()
        with pytest.raises(EngineError):
            await hear(pool)
        with pytest.raises(EngineUnavailable):
            await hear(pool)
        assert not pool.ready


async def test_a_ladder_that_was_never_started_can_be_left() -> None:
    async with ladder(Engine("large")) as pool:
        assert not pool.ready


async def test_a_rung_that_cannot_even_be_made_is_passed() -> None:
    def wrong() -> Any:
        raise SetupError("placement_invalid", "There is no such precision.")

    large, tiny = Engine("large", shortages=2), Engine("tiny")
    rungs = [Rung("large", lambda: large), Rung("wrong", wrong), Rung("tiny", lambda: tiny)]
    async with LadderPool(rungs) as pool:
        await pool.start()
        assert await hear(pool) == "tiny"


async def test_the_lowest_rung_is_tried_again_where_it_failed_once_at_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_ladder, "AGAIN_S", 0.02)
    slow = EngineUnavailable("engine_start_timed_out", "The disk is slow.")
    small = Engine("small", slow)
    async with ladder(Engine("large", shortages=2), small) as pool:
        await pool.start()
        with pytest.raises(EngineError):
            await hear(pool)
        small._load = None
        async with asyncio.timeout(5):
            while not pool.ready:  # noqa: ASYNC110 - it comes back at its own time
                await asyncio.sleep(0.01)
        assert await hear(pool) == "small"
