"""A streaming desk on a stage: the real machinery with fake engines, a store in memory, and a clock by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from duologue.core.capabilities import Role
from duologue.core.streaming import StreamNotice
from duologue.engines.chain import Link
from duologue.engines.fakes import FakeLlm, FakeStt, FakeTts
from duologue.engines.pool_inprocess import InProcessPool
from duologue.engines.resilient import ResilientPool
from duologue.ports import Archive, EnginePool
from duologue.session.hearing import Hearing
from duologue.session.meters import Meters
from duologue.session.streaming.desk import StreamDesk
from duologue.session.streaming.replies import Means
from duologue.session.streaming.shared import Bounds, Shared
from duologue.session.streaming.spoken_cache import SpokenCache
from duologue.session.streaming.workers import Workers
from duologue.store.opening import open_archive
from duologue.wire.stream_sound import StreamSound
from tests.support.stage import HandClock, LoudnessVad

RATE_HZ = 16_000


def loud(ms: int, seed: int = 0) -> bytes:
    """Somebody speaks: noise."""
    rng = np.random.default_rng(seed)
    return rng.integers(-20_000, 20_000, ms * 16).astype("<i2").tobytes()


def quiet(ms: int) -> bytes:
    """Nobody does."""
    return bytes(ms * 32)


@dataclass
class Ear:
    """A listener: everything it was told."""

    told: list[StreamNotice] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, notice: StreamNotice) -> None:
        self.told.append(notice)
        self.came.set()

    def of(self, *kinds: type[Any]) -> list[Any]:
        """The notices of these kinds."""
        return [notice for notice in self.told if isinstance(notice, kinds)]

    async def until(self, true: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Wait for something to be true, looking at each notice."""
        async with asyncio.timeout(timeout_s):
            while not true():
                self.came.clear()
                await self.came.wait()

    async def first(self, kind: type[Any], count: int = 1) -> Any:
        """The notice of this kind that makes so many."""
        await self.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]


@dataclass
class StreamStage:
    """See the module."""

    desk: StreamDesk
    archive: Archive
    clock: HandClock
    wall: HandClock

    def later(self, seconds: float) -> None:
        """Time passes."""
        self.clock.now += seconds * 1000
        self.wall.now += seconds
        self.desk.tick(self.clock.now)

    async def judged(self) -> None:
        """All that has come is judged, and what fakes make of it at once is made."""
        while not self.desk.shared.hearing.judge_waiting():
            pass
        for _ in range(50):
            await asyncio.sleep(0)


@asynccontextmanager
async def stream_stage(
    *,
    stt: Any = None,
    pool: EnginePool | None = None,
    tts: str = "",
    llm: str = "",
    responder: Any = None,
    context_tokens: int = 2_000,
    bounds: Bounds | None = None,
    workers: int = 2,
    archive: Any = None,
    voice: Callable[[], str] = lambda: "fake-tts",
) -> AsyncIterator[StreamStage]:
    """A desk that is open, until it is left."""
    clock, wall = HandClock(), HandClock()
    wall.now = 1_700_000_000.0
    engine = stt or FakeStt()
    chains: dict[Role, list[Link]] = {
        Role.STT: [Link("stt", InProcessPool(engine))],
        Role.TTS: [Link("fake-tts", InProcessPool(FakeTts(tts)))],
    }
    store = archive or open_archive("memory", Path())
    if archive is None:
        await store.start()
    pool = pool or ResilientPool(chains)
    recognisers: Sequence[Any] = [engine.capabilities]
    meters = Meters(clock)
    speech = Means(
        pool,
        responder or FakeLlm(llm),
        Workers(workers, clock),
        SpokenCache(),
        clock,
        meters,
        voice,
        context_tokens,
    )
    shared = Shared(
        pool,
        Hearing(LoudnessVad(), clock),
        meters,
        store,
        clock,
        wall,
        bounds or Bounds(),
        Workers(workers, clock),
        speech,
        lambda rate_hz, kind: StreamSound(rate_hz, kind=kind),
        lambda: recognisers,
    )
    desk = StreamDesk(shared)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(desk.run())
        await asyncio.sleep(0)
        desk.is_open = True
        try:
            yield StreamStage(desk, store, clock, wall)
        finally:
            running.cancel()
    if archive is None:
        await store.aclose()
