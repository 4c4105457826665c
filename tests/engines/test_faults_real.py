"""Real processes that are killed, and others that are stopped, in the middle of real speech: nothing said is lost.

The recogniser is the embedded one in two processes, so there is another place to go on. Sound is given at once and
not at its own pace: a run takes as long as what is computed in it.
"""

import asyncio
import random
import statistics
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from difflib import SequenceMatcher
from zlib import crc32

import psutil
import pytest

from duologue.core.capabilities import Role
from duologue.engines import piped, registry
from duologue.engines.chain import Link
from duologue.engines.pool_subprocess import SubprocessPool
from duologue.engines.resilient import ResilientPool
from duologue.ports import Final, SttOptions
from tests.engines.contract import frames_of
from tests.support.clips import clip

CLIPS = ("commands-numbers.flac", "wake-okay_nabu_2.flac")
RUNS = 10
"""Of each kind of fault."""

ADDED_S = {"crash": 1.5, "hang": 0.5}
"""What a fault may add at most (19 of 20), beyond the time in which a hang is noticed."""

WELL_S = 0.5
"""An utterance of these takes less on a quiet machine; one that takes longer is given more in proportion."""

KEYS = ("d", "a")
"""Sessions at home in the first and in the second process."""


@asynccontextmanager
async def recogniser() -> AsyncIterator[tuple[ResilientPool, SubprocessPool]]:
    spec, argument = registry.find("pocketsphinx", Role.STT)
    async with SubprocessPool(spec, argument, processes=2) as processes:
        await processes.start()
        pool = ResilientPool({Role.STT: [Link("pocketsphinx", processes)]})
        await pool.introduce()
        async with asyncio.TaskGroup() as tasks:
            trials = tasks.create_task(pool.run())
            yield pool, processes
            trials.cancel()


async def transcribe(
    pool: ResilientPool,
    pcm: bytes,
    key: str,
    break_at: int = -1,
    broken: Callable[[], None] = lambda: None,
) -> tuple[str, float]:
    """An utterance, in whose middle something is broken: its words, and seconds from its end."""
    loop = asyncio.get_running_loop()
    stream = await pool.open(Role.STT, key, SttOptions("en"))
    for number, frame in enumerate(frames_of(pcm)):
        if number == break_at:
            broken()
        while not stream.offer(frame):
            await stream.room()
        await asyncio.sleep(0)
    ended_s = loop.time()
    stream.flush(1)
    async with asyncio.timeout(30):
        async for event in stream.events():
            if isinstance(event, Final):
                assert event.upto == len(pcm) // 2
                await stream.aclose()
                return event.text, loop.time() - ended_s
    raise AssertionError("the utterance was lost")


def likeness(text: str, others: Sequence[str]) -> float:
    """What a decoder heard before changes a little what it hears next."""
    return max(SequenceMatcher(None, text, other).ratio() for other in others)


@pytest.mark.full
@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", ["crash", "hang"])
async def test_real_processes_break_and_no_utterance_is_lost(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pool, broken again and again; each time it must be whole again before the next."""
    monkeypatch.setattr(piped, "HUNG_S", 1.0)
    dice, over_s, slow = random.Random(fault), [], 1.0
    async with recogniser() as (pool, processes):
        (link,) = pool.chains[Role.STT]
        for run in range(RUNS):
            pcm, key = clip(CLIPS[run % len(CLIPS)], 16_000), KEYS[run % 2]
            well = [await transcribe(pool, pcm, key) for key in KEYS]
            well_s = max(seconds for _, seconds in well)
            slow = max(slow, well_s / WELL_S)
            victim = psutil.Process(processes.pids[crc32(key.encode()) % 2])
            act = victim.kill if fault == "crash" else victim.suspend
            limit_s = 0.0 if fault == "crash" else pool.limit_s(link)
            at = dice.randrange(1, len(frames_of(pcm)))
            text, took_s = await transcribe(pool, pcm, key, at, act)
            assert likeness(text, [words for words, _ in well]) > 0.4, (text, well)
            assert (await transcribe(pool, pcm, key))[0]
            assert (pool.fallbacks, pool.broken) == (run + 1, 0)
            over_s.append(took_s - well_s - limit_s)
            async with asyncio.timeout(60):
                while processes.spares < 2:  # noqa: ASYNC110 - a process comes back at its own time
                    await asyncio.sleep(0.05)
    p95_s = statistics.quantiles(over_s, n=20, method="inclusive")[-1]
    assert p95_s <= ADDED_S[fault] * slow, over_s
