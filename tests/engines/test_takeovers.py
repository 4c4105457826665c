"""Takeovers in bad weather: queues that look like hangs, engines that are full, replays that break in their turn."""

import asyncio
import threading
import time
from typing import Any

import pytest

from duologue.core.audio import Ms
from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import AtCapacity
from duologue.core.facts import DraftId, TranscriptReady, UtteranceId
from duologue.engines.base import BlockingEngine, Emit, Flush, Inbox
from duologue.engines.chain import Link
from duologue.engines.fakes import FakeStt
from duologue.engines.pool_inprocess import InProcessPool
from duologue.engines.resilient import ResilientPool
from duologue.ports import EngineGone, Event, Final, Partial, StreamOptions, SttOptions
from duologue.session.recognition import Recognition
from tests.engines.test_resilient import Pool, Stream, broken, collect, frame


class Scripted(BlockingEngine):
    """A blocking engine without a model."""

    def __init__(self, streams: int = 8) -> None:
        self.capabilities = Capabilities(max_streams=streams)

    def load(self) -> None:
        pass

    def warm_up(self) -> None:
        pass


class OneAtATime(Scripted):
    """A transcript takes so long, whoever else waits: one GPU, or one core."""

    WORK_S = 0.15

    def __init__(self) -> None:
        super().__init__()
        self._model = threading.Lock()

    def run(self, options: StreamOptions, inbox: Inbox, emit: Emit) -> None:
        for item in inbox:
            if isinstance(item, Flush):
                with self._model:
                    time.sleep(self.WORK_S)
                emit(Final(item.id, 512, "text"))


class Stuck(Scripted):
    """Takes five windows, and then nothing."""

    def run(self, options: StreamOptions, inbox: Inbox, emit: Emit) -> None:
        for number, _ in enumerate(inbox):
            while number == 5 and not inbox.cancelled:
                time.sleep(0.002)


class Chatty(Scripted):
    """A partial for every window."""

    def run(self, options: StreamOptions, inbox: Inbox, emit: Emit) -> None:
        for item in inbox:
            emit(Final(item.id, 0, "ok") if isinstance(item, Flush) else Partial("x"))


def over(*pools: Any, timeout_s: float = 5) -> ResilientPool:
    links = [Link(f"engine-{n}", pool) for n, pool in enumerate(pools)]
    return ResilientPool({Role.STT: links}, owed_timeout_s=timeout_s)


async def opened(pool: ResilientPool, windows: int, key: str = "s") -> Any:
    """A stream that was offered so much, and is to answer for it."""
    stream = await pool.open(Role.STT, key, SttOptions())
    for number in range(windows):
        assert stream.offer(frame(number))
    stream.flush(1)
    return stream


async def test_a_burst_is_a_queue_and_no_hang() -> None:
    """Eight finals at once: the last waits eight times as long as an idle engine takes."""
    pool = over(InProcessPool(OneAtATime()), timeout_s=3)
    await pool.introduce()

    async def one(number: int) -> Event:
        stream = await opened(pool, 1, str(number))
        (event,) = await collect(stream, 1)
        await stream.aclose(cancel=True)
        return event

    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(one(number)) for number in range(8)]
    assert {type(task.result()) for task in asked} == {Final}
    assert pool.fallbacks == 0


async def test_a_hang_with_a_full_inbox_is_noticed_and_the_utterance_goes_on_elsewhere() -> None:
    pool = over(InProcessPool(Stuck()), InProcessPool(FakeStt()), timeout_s=0.3)
    facts: list[Any] = []
    over_ = asyncio.Event()

    def report(fact: Any) -> None:
        facts.append(fact)
        over_.set()

    async with asyncio.TaskGroup() as tasks:
        recognition = Recognition(pool, "s", report, lambda: Ms(0), tasks)
        for number in range(700):  # 22 s of speech, more than an engine's inbox holds
            recognition.write(UtteranceId(1), frame(number))
            if number % 50 == 0:
                await asyncio.sleep(0)
        recognition.finish(UtteranceId(1), DraftId(1))
        async with asyncio.timeout(10):
            await over_.wait()
        recognition.end(UtteranceId(1))
    assert isinstance(facts[0], TranscriptReady)


async def test_an_engine_that_hangs_in_a_replay_is_given_up_too() -> None:
    first, full, third = Stream(), Stream(room=10), Stream()
    pool = over(Pool(first), Pool(full), Pool(third), timeout_s=0.2)
    stream = await opened(pool, 20)
    first.out.put(broken())
    third.out.put(Final(1, 20 * 512, "third"))
    assert await collect(stream, 1) == [Final(1, 20 * 512, "third")]
    assert len(full.got) == 10


async def test_a_replay_that_nobody_wants_any_more_gives_its_place_back() -> None:
    first, full = Stream(), Stream(room=10)
    stream = await opened(over(Pool(first), Pool(full)), 20)
    first.out.put(broken())
    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(collect(stream, 1))
        async with asyncio.timeout(5):
            while not full.got:  # noqa: ASYNC110 - the takeover is nobody's event
                await asyncio.sleep(0.001)
        listening.cancel()
    await stream.aclose(cancel=True)
    assert full.closed


async def test_an_engine_that_talks_while_it_is_offered_everything_again_is_heard() -> None:
    first = Stream()
    stream = await opened(over(Pool(first), InProcessPool(Chatty())), 1_500)
    first.out.put(broken())
    async with asyncio.timeout(10):
        async for event in stream.events():
            if isinstance(event, Final):
                break
    await stream.aclose(cancel=True)


async def test_what_failed_for_a_file_is_tried_out_for_conversations() -> None:
    """The audio routes have a patience of their own, and the same engines."""
    well = Stream()
    well.out.put(Final(1, 0, ""))
    dies = Stream()
    dies.out.put(broken())
    chains = {Role.STT: [Link("a", Pool(dies, well)), Link("b", Pool(Stream()))]}
    sessions = ResilientPool(chains)
    files = ResilientPool(chains, owed_timeout_s=60, keeps_pace=False)
    async with asyncio.TaskGroup() as tasks:
        trials = tasks.create_task(sessions.run())
        await asyncio.sleep(0)
        stream = await opened(files, 1)
        listening = tasks.create_task(collect(stream, 1))
        async with asyncio.timeout(5):
            while not chains[Role.STT][0].lost:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            while chains[Role.STT][0].breaker.is_open:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        listening.cancel()
        trials.cancel()


async def test_one_crash_is_one_failure_however_many_streams_it_cost() -> None:
    lost = [Stream() for _ in range(3)]
    first = Pool(*lost, *(Stream() for _ in range(3)), spares=1)
    pool = over(first, Pool())
    streams = [await pool.open(Role.STT, str(n), SttOptions()) for n in range(3)]
    async with asyncio.TaskGroup() as tasks:
        listening = [tasks.create_task(collect(stream, 1)) for stream in streams]
        for stream in lost:
            stream.out.put(broken())
        async with asyncio.timeout(5):
            while pool.chains[Role.STT][0].lost < 3:  # noqa: ASYNC110
                await asyncio.sleep(0)
        for task in listening:
            task.cancel()
    assert not pool.chains[Role.STT][0].breaker.is_open


async def test_an_only_engine_is_not_tried_out_and_one_that_is_full_is_well() -> None:
    engine = FakeStt()
    engine.capabilities = Capabilities(max_streams=1)
    only = over(InProcessPool(engine))
    link = only.chains[Role.STT][0]
    link.breaker.failed(asyncio.get_running_loop().time() - 60)
    assert only._resting() == []
    full = Link("full", Pool(AtCapacity("full", "Full.")))
    full.breaker.failed(0.0)
    await over()._try_out(Role.STT, full)
    assert not full.breaker.is_open


async def test_a_stream_that_ends_unasked_is_taken_up_though_nothing_was_owed() -> None:
    first, second = Stream(), Stream()
    stream = await over(Pool(first), Pool(second)).open(Role.STT, "s", SttOptions())
    stream.offer(frame(0))
    first.out.close()
    second.out.put(Final(1, 512, "second"))
    assert await collect(stream, 1) == [Final(1, 512, "second")]
    assert second.got == [frame(0)]


@pytest.mark.parametrize("closes", [True, False])
async def test_a_stream_that_we_closed_just_ends(closes: bool) -> None:
    only = Stream()
    stream = await over(Pool(only)).open(Role.STT, "s", SttOptions())
    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(collect(stream, 1))
        await asyncio.sleep(0)
        await stream.aclose(cancel=closes)
    assert not [e for e in listening.result() if isinstance(e, EngineGone)]
