"""A session on a stage: real machinery, fake engines, and time that only moves when the script says so.

Speech is loud noise and quiet is zeros, and the voice-activity stand-in goes by loudness, so a script can
speak to the millisecond. Nothing sleeps: each 20 ms frame moves the clock, judges, ticks, and lets tasks run.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duologue.core.capabilities import Role
from duologue.core.commands import AnyCommand
from duologue.core.facts import AskId
from duologue.core.notices import Notice
from duologue.core.options import SessionOptions
from duologue.engines.chain import Link
from duologue.engines.fakes import FakeLlm, FakeStt, FakeTts
from duologue.engines.pool_inprocess import InProcessPool
from duologue.engines.resilient import ResilientPool
from duologue.session.hearing import Hearing
from duologue.session.journal import Journal
from duologue.session.meters import Meters
from duologue.session.pacer import Pacer
from duologue.session.session import Session
from duologue.session.world import World

FRAME_MS = 20


class LoudnessVad:
    """Speech is what is loud."""

    def __init__(self) -> None:
        self.slots: set[int] = set()
        self.batches: list[int] = []

    def open(self) -> int:
        slot = next(n for n in range(10_000) if n not in self.slots)
        self.slots.add(slot)
        return slot

    def close_slot(self, slot: int) -> None:
        self.slots.remove(slot)

    def judge(self, slots: Sequence[int], windows: NDArray[np.float32]) -> list[float]:
        assert len(slots) == len(windows)
        self.batches.append(len(slots))
        return [1.0 if float(np.abs(w).mean()) > 0.1 else 0.0 for w in windows]


@dataclass
class Ear:
    """The listener: everything that it was told, with the clock's time."""

    clock: Callable[[], float]
    told: list[tuple[float, Notice]] = field(default_factory=list)
    frames: list[tuple[float, str, bytes]] = field(default_factory=list)
    waiting: int = 0

    def tell(self, notice: Notice) -> None:
        self.told.append((self.clock(), notice))

    def sound(self, reply_id: str, index: int, item_id: str, pcm: bytes) -> None:
        self.frames.append((self.clock(), item_id, pcm))

    def unsent(self) -> int:
        return self.waiting

    def of(self, *kinds: type[Any]) -> list[Any]:
        """The notices of these kinds."""
        return [notice for _, notice in self.told if isinstance(notice, kinds)]

    def last(self, kind: type[Any]) -> Any:
        """The latest of this kind."""
        return self.of(kind)[-1]

    def sound_ms(self, item_id: str | None = None) -> float:
        """Sound received."""
        return sum(len(p) / 48 for _, i, p in self.frames if item_id in (None, i))


class Stage:
    """One session, and the hand that moves the clock."""

    def __init__(self, session: Session, ear: Ear, world: World, clock: "HandClock") -> None:
        self.session = session
        self.ear = ear
        self.world = world
        self._clock = clock
        self._asks = 0
        self._noise = np.random.default_rng(1)

    @property
    def now(self) -> float:
        return self._clock.now

    async def settle(self) -> None:
        """Let tasks run until nothing moves any more."""
        for _ in range(30):
            await asyncio.sleep(0)

    async def step(self, pcm: bytes | None, ms: float = FRAME_MS) -> None:
        """One frame of time, with sound or without."""
        self._clock.now += ms
        if pcm is not None:
            self.session.hear(pcm)
        while not self.world.hearing.judge_waiting():
            pass
        await self.settle()
        self.world.pacer.tick(self._clock.now)
        await self.settle()

    def loud(self, ms: int) -> bytes:
        size = ms * self.session.options.input_format.rate_hz // 1000
        return (
            (self._noise.standard_normal(size) * 12_000).clip(-32768, 32767).astype("<i2").tobytes()
        )

    def still(self, ms: int) -> bytes:
        return bytes(ms * self.session.options.input_format.rate_hz // 1000 * 2)

    async def speak(self, ms: int) -> None:
        """The user speaks for so long, in real time."""
        for _ in range(ms // FRAME_MS):
            await self.step(self.loud(FRAME_MS))

    async def quiet(self, ms: int) -> None:
        """The microphone is open and nobody speaks."""
        for _ in range(ms // FRAME_MS):
            await self.step(self.still(FRAME_MS))

    async def muted(self, ms: int) -> None:
        """No sound comes at all."""
        for _ in range(ms // FRAME_MS):
            await self.step(None)

    async def turn(self, speech_ms: int = 800, quiet_ms: int = 700) -> None:
        """The user says something and waits."""
        await self.speak(speech_ms)
        await self.quiet(quiet_ms)

    async def ask(self, kind: Callable[..., AnyCommand], *what: Any) -> AskId:
        """A command of the client's."""
        self._asks += 1
        ask = AskId(self._asks)
        self.session.ask(kind(ask, *what))
        while not self.world.hearing.judge_waiting():
            pass
        await self.settle()
        return ask


class HandClock:
    """Time that is set by hand."""

    def __init__(self) -> None:
        self.now = 10_000.0

    def __call__(self) -> float:
        return self.now


def scripted_world(
    clock: HandClock,
    vad: LoudnessVad,
    *,
    stt: Any = None,
    tts: Any = None,
    llm: Any = None,
    tools: Any = None,
    turn_end: Any = None,
    owed_timeout_s: float = 5.0,
) -> World:
    """What sessions share, in time that is set by hand; fakes where no engine is given."""
    voices = tts if isinstance(tts, tuple) else (tts or FakeTts(),)
    chains = {
        Role.STT: [Link("stt", InProcessPool(stt or FakeStt()))],
        Role.TTS: [Link("tts", InProcessPool(voice)) for voice in voices],
    }
    return World(
        pool=ResilientPool(chains, owed_timeout_s=owed_timeout_s),
        responder=llm or FakeLlm(),
        hearing=Hearing(vad, clock),
        pacer=Pacer(clock),
        meters=Meters(clock),
        clock=clock,
        tool_servers=tools,
        turn_end=turn_end,
    )


@asynccontextmanager
async def stage(
    options: SessionOptions | None = None,
    *,
    stt: Any = None,
    tts: Any = None,
    llm: Any = None,
    tools: Any = None,
    turn_end: Any = None,
    journal: Path | None = None,
    owed_timeout_s: float = 5.0,
) -> AsyncIterator[Stage]:
    """A session with these engines, closed at the end with nothing left behind.

    Fakes where none is given; several voices are tried in order.
    """
    before = asyncio.all_tasks()
    clock, vad = HandClock(), LoudnessVad()
    engines = {"stt": stt, "tts": tts, "llm": llm, "tools": tools, "turn_end": turn_end}
    world = scripted_world(clock, vad, **engines, owed_timeout_s=owed_timeout_s)
    if journal is not None:
        world.journal = lambda sid, policy: Journal(journal, sid, policy)
    ear = Ear(clock)
    try:
        async with asyncio.TaskGroup() as tasks:
            session = Session(world, "sess_test", ear, options or SessionOptions(), tasks)
            try:
                yield Stage(session, ear, world, clock)
            finally:
                session.close()
                for task in asyncio.all_tasks() - before - {asyncio.current_task()}:
                    task.cancel()
    finally:
        world.hearing.close()
    assert not vad.slots, "a slot of the voice-activity model was not given back"
    assert world.meters.live == 0
    assert not (asyncio.all_tasks() - before), "a task was left behind"
