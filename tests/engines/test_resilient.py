import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from duologue.core.audio import AudioFrame
from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import AtCapacity, EngineError, EngineLost, EngineRefused
from duologue.engines import chain, resilient
from duologue.engines.breaker import STALL_LEAST_S
from duologue.engines.chain import Link
from duologue.engines.events import EventQueue
from duologue.engines.resilient import ResilientPool
from duologue.ports import Audio, EngineGone, Event, Final, Offer, Say, SttOptions, TtsOptions


class Stream:
    """A stream whose every move the test decides."""

    def __init__(self, rate_hz: int = 16_000, room: int = 10_000) -> None:
        self.rate_hz = rate_hz
        self.got: list[Offer | int] = []
        self.left = room
        self.out = EventQueue()
        self.closed = False
        self.more = asyncio.Event()

    def offer(self, item: Offer) -> bool:
        if not self.left:
            return False
        self.left -= 1
        self.got.append(item)
        return True

    async def room(self) -> None:
        await self.more.wait()

    def flush(self, flush_id: int) -> None:
        self.got.append(flush_id)

    def events(self) -> EventQueue:
        return self.out

    async def aclose(self, *, cancel: bool = False) -> None:
        self.closed = True
        self.out.close()


class Pool:
    """A pool whose streams the test made; `spares` as it says."""

    def __init__(self, *streams: Stream | Exception, spares: int = 0) -> None:
        self.made = list(streams)
        self.spares = spares
        self.streams = 0
        self.ready = True
        self.attempts = 2
        self.noted: list[EngineError] = []
        self.capabilities = Capabilities()

    def note(self, error: EngineError) -> None:
        self.noted.append(error)

    async def open(self, role: Role, key: str, options: Any) -> Stream:
        made = self.made.pop(0)
        if isinstance(made, Exception):
            raise made
        return made


def frame(number: int) -> AudioFrame:
    return AudioFrame(bytes(1024), 512 * number)


def broken() -> EngineGone:
    return EngineGone(EngineLost("lost", "It died."))


@asynccontextmanager
async def resilient_over(
    *pools: Pool, role: Role = Role.STT, timeout_s: float = 5
) -> AsyncIterator[ResilientPool]:
    links = [Link(f"engine-{n}", pool) for n, pool in enumerate(pools)]
    pool = ResilientPool({role: links}, owed_timeout_s=timeout_s)
    async with asyncio.TaskGroup() as tasks:
        trials = tasks.create_task(pool.run())
        yield pool
        trials.cancel()


@asynccontextmanager
async def opened(*pools: Pool, role: Role = Role.STT, timeout_s: float = 5) -> AsyncIterator[Any]:
    async with resilient_over(*pools, role=role, timeout_s=timeout_s) as pool:
        options = SttOptions() if role is Role.STT else TtsOptions()
        yield await pool.open(role, "s", options)


async def collect(stream: Any, count: int) -> list[Event]:
    events: list[Event] = []
    async with asyncio.timeout(5):
        async for event in stream.events():
            events.append(event)
            if len(events) == count:
                break
    return events


async def test_a_lost_engine_costs_nothing_that_is_not_final() -> None:
    one, two = Stream(), Stream()
    async with opened(Pool(one), Pool(two)) as stream:
        stream.offer(frame(0))
        stream.flush(1)
        stream.offer(frame(1))
        stream.offer(frame(2))
        stream.flush(2)
        one.out.put(Final(1, 512, "first"))
        one.out.put(broken())
        two.out.put(Final(2, 1536, "second"))
        assert await collect(stream, 2) == [Final(1, 512, "first"), Final(2, 1536, "second")]
        assert two.got == [frame(1), frame(2), 2]
        assert one.closed
        await stream.aclose()
        assert two.closed


async def test_an_engine_that_is_full_or_missing_at_first_is_passed_over() -> None:
    good = Stream()
    async with opened(Pool(AtCapacity("full", "Full.")), Pool(good)) as stream:
        stream.offer(frame(0))
        assert good.got == [frame(0)]
    async with resilient_over(Pool(AtCapacity("full", "Full."))) as pool:
        with pytest.raises(AtCapacity):
            await pool.open(Role.STT, "s", SttOptions())


async def test_the_last_engine_is_asked_once_more_and_then_its_loss_is_told() -> None:
    one, again = Stream(), Stream()
    async with opened(Pool(one, again)) as stream:
        stream.offer(frame(0))
        stream.flush(1)
        one.out.put(broken())
        again.out.put(Final(1, 512, "heard"))
        assert await collect(stream, 1) == [Final(1, 512, "heard")]
        assert again.got == [frame(0), 1]
        again.out.put(broken())
        events = await collect(stream, 5)
        assert [e.error.code for e in events if isinstance(e, EngineGone)] == ["lost"]


async def test_an_engine_that_refuses_is_not_asked_again() -> None:
    one, again = Stream(), Stream()
    async with opened(Pool(one, again)) as stream:
        one.out.put(EngineGone(EngineRefused("no", "It refuses.")))
        assert isinstance((await collect(stream, 1))[0], EngineGone)
        assert again.got == []


async def test_the_last_engines_loss_is_told_where_no_other_can_be_had() -> None:
    both = Stream()
    async with opened(Pool(both), Pool(AtCapacity("full", "Full."))) as stream:
        both.out.put(broken())
        assert len(await collect(stream, 5)) == 1


async def test_an_engine_that_owes_and_is_silent_is_given_up() -> None:
    one, two = Stream(), Stream()
    async with opened(Pool(one), Pool(two), timeout_s=0.02) as stream:
        stream.offer(frame(0))
        stream.flush(1)
        two.out.put(Final(1, 512, "late"))
        assert await collect(stream, 1) == [Final(1, 512, "late")]
        async with opened(Pool(Stream()), timeout_s=0.02) as stream:
            stream.flush(1)
            (gone,) = await collect(stream, 1)
            assert isinstance(gone, EngineGone)
            assert gone.error.code == "stt_timed_out"


async def test_silence_of_an_engine_that_owes_nothing_is_no_fault() -> None:
    one = Stream()
    async with opened(Pool(one), Pool(Stream()), timeout_s=0.01) as stream:
        stream.offer(frame(0))
        events = asyncio.ensure_future(collect(stream, 1))
        await asyncio.sleep(0.05)
        assert not one.closed
        stream.flush(1)
        one.out.put(Final(1, 512, "well"))
        assert await events == [Final(1, 512, "well")]


async def test_sound_that_comes_during_a_fallback_keeps_its_order() -> None:
    one, two = Stream(), Stream(room=1)
    async with opened(Pool(one), Pool(two)) as stream:
        for n in range(3):
            stream.offer(frame(n))
        one.out.put(broken())
        events = asyncio.ensure_future(collect(stream, 1))
        for _ in range(5):
            await asyncio.sleep(0)
        assert two.got == [frame(0)]
        stream.offer(frame(3))
        stream.flush(9)
        two.left = 100
        await asyncio.sleep(2 * resilient.GRACE_S)
        assert two.got == [frame(0), frame(1), frame(2), frame(3), 9]
        two.out.put(Final(9, 2048, "all"))
        assert await events == [Final(9, 2048, "all")]


async def test_half_a_sentence_is_not_continued_by_another_voice() -> None:
    one, two = Stream(), Stream()
    async with opened(Pool(one), Pool(two), role=Role.TTS) as stream:
        stream.offer(Say(0, "Hello there."))
        one.out.put(Audio(0, b"\0\0"))
        one.out.put(broken())
        events = await collect(stream, 3)
        assert [type(e).__name__ for e in events] == ["Audio", "EngineGone"]
        assert two.got == []


async def test_before_the_first_sound_another_voice_may_speak() -> None:
    one, two = Stream(), Stream()
    async with opened(Pool(one), Pool(two), role=Role.TTS) as stream:
        stream.offer(Say(0, "Hello there."))
        one.out.put(broken())
        two.out.put(Audio(0, b"\0\0"))
        assert await collect(stream, 1) == [Audio(0, b"\0\0")]
        assert two.got == [Say(0, "Hello there.")]
        other = Stream(rate_hz=22_050)
        one = Stream()
        async with opened(Pool(one), Pool(other), role=Role.TTS) as stream:
            assert stream.rate_hz == 16_000
            one.out.put(broken())
            other.out.put(Audio(0, b"\0\0"))
            assert await collect(stream, 1) == [Audio(0, b"\0\0")]
            assert stream.rate_hz == 22_050


async def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resilient, "MAX_KEPT_FRAMES", 40)
    one, two = Stream(), Stream()
    async with opened(Pool(one), Pool(two)) as stream:
        for n in range(100):
            stream.offer(frame(n))
        stream.flush(1)
        one.out.put(broken())
        two.out.put(Final(1, 0, "rest"))
        await collect(stream, 1)
        assert len(two.got) <= 41
        assert two.got[-2:] == [frame(99), 1]


async def test_a_full_engine_is_passed_on_as_full() -> None:
    one = Stream(room=1)
    async with opened(Pool(one)) as stream:
        assert stream.offer(frame(0))
        assert not stream.offer(frame(1))
        waiting = asyncio.ensure_future(stream.room())
        one.more.set()
        await waiting


# --- who is asked ---
async def heard(pool: ResilientPool, source: Stream, text: str = "well") -> None:
    """One utterance that this stream answers."""
    stream = await pool.open(Role.STT, "s", SttOptions())
    stream.offer(frame(0))
    stream.flush(1)
    source.out.put(Final(1, 512, text))
    assert await collect(stream, 1) == [Final(1, 512, text)]
    await stream.aclose()


async def test_an_engine_that_failed_is_passed_over_until_a_trial_of_it_succeeds() -> None:
    dies, tried, back = Stream(), Stream(), Stream()
    others = [Stream(), Stream()]
    first, second = Pool(dies, tried, back), Pool(*others)
    async with resilient_over(first, second) as pool:
        stream = await pool.open(Role.STT, "s", SttOptions())
        stream.offer(frame(0))
        stream.flush(1)
        dies.out.put(broken())
        others[0].out.put(Final(1, 512, "other"))
        assert await collect(stream, 1) == [Final(1, 512, "other")]
        link = pool.chains[Role.STT][0]
        assert [e.code for e in first.noted] == ["lost"]
        await heard(pool, others[1])  # the first is not asked
        tried.out.put(Final(1, 16_000, ""))
        async with asyncio.timeout(5):
            while link.breaker.is_open:  # noqa: ASYNC110 - the trial comes at its own time
                await asyncio.sleep(0.01)
        assert tried.got[-1] == 1
        assert len(tried.got) > 10
        await heard(pool, back)
        assert (pool.fallbacks, pool.broken) == (2, 0)


async def test_a_trial_that_fails_is_repeated_later_and_harms_nobody() -> None:
    first = Pool(Stream(), EngineLost("dead", "Dead."), RuntimeError("a bug of the pool's"))
    async with resilient_over(first, Pool(Stream())) as pool:
        link = pool.chains[Role.STT][0]
        pool.failed(link, EngineLost("lost", "Lost."))
        first.made.pop(0)
        async with asyncio.timeout(5):
            while len(first.made) > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert link.breaker.is_open
        assert link.breaker.failures == 2


async def test_another_place_of_the_lost_engine_goes_before_another_engine() -> None:
    one, same = Stream(), Stream()
    first, second = Pool(one, same, spares=1), Pool(Stream())
    async with opened(first, second) as stream:
        stream.offer(frame(0))
        stream.flush(1)
        one.out.put(broken())
        same.out.put(Final(1, 512, "again"))
        assert await collect(stream, 1) == [Final(1, 512, "again")]
        assert len(second.made) == 1


async def test_an_engine_that_is_being_started_again_is_asked_last() -> None:
    starting, there = Pool(Stream()), Pool(Stream())
    starting.ready = False
    async with resilient_over(starting, there) as pool:
        await pool.open(Role.STT, "s", SttOptions())
        assert (len(starting.made), len(there.made)) == (1, 0)


async def test_nobody_waits_for_ever_for_an_engine_to_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow(Pool):
        async def open(self, role: Role, key: str, options: Any) -> Stream:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr(chain, "OPEN_PATIENCE_S", 0.02)
    async with resilient_over(Slow()) as pool:
        with pytest.raises(EngineLost) as raised:
            await pool.open(Role.STT, "s", SttOptions())
        assert raised.value.code == "stt_starting"


async def test_a_role_without_an_engine_says_so() -> None:
    with pytest.raises(EngineLost) as raised:
        await ResilientPool({Role.STT: []}).open(Role.STT, "s", SttOptions())
    assert raised.value.code == "stt_missing"


# --- how long is waited ---
async def test_an_engine_known_to_be_quick_is_given_up_sooner() -> None:
    quick, hangs, other = Stream(), Stream(), Stream()
    async with resilient_over(Pool(quick, hangs), Pool(other), timeout_s=5) as pool:
        await heard(pool, quick)
        link = pool.chains[Role.STT][0]
        assert pool.limit_s(link) == STALL_LEAST_S
        stream = await pool.open(Role.STT, "s", SttOptions())
        stream.flush(1)
        other.out.put(Final(1, 0, "in time"))
        began = asyncio.get_running_loop().time()
        assert await collect(stream, 1) == [Final(1, 0, "in time")]
        assert 0.9 < asyncio.get_running_loop().time() - began < 2.5
        assert len(pool.delays_s) == 1


async def test_an_answer_that_came_while_the_loop_was_held_up_counts() -> None:
    one, two = Stream(), Stream()
    async with opened(Pool(one), Pool(two), timeout_s=0.05) as stream:
        stream.offer(frame(0))
        stream.flush(1)
        events = asyncio.ensure_future(collect(stream, 1))
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        loop.call_soon(time.sleep, 0.2)
        loop.call_later(0.21, one.out.put, Final(1, 512, "late, but there"))
        assert await events == [Final(1, 512, "late, but there")]
        assert two.got == []


async def test_nobody_waits_for_a_hung_streams_end() -> None:
    class Hangs(Stream):
        async def aclose(self, *, cancel: bool = False) -> None:
            self.closed = True
            await asyncio.Event().wait()

    one, two = Hangs(), Stream()
    async with opened(Pool(one), Pool(two), timeout_s=0.02) as stream:
        stream.flush(1)
        two.out.put(Final(1, 0, "on"))
        began = asyncio.get_running_loop().time()
        await collect(stream, 1)
        assert asyncio.get_running_loop().time() - began < 0.4
        assert one.closed


async def test_a_voice_that_waits_for_more_text_does_not_hang() -> None:
    """The language model pauses in the middle of its answer."""
    one, two = Stream(), Stream()
    async with opened(Pool(one), Pool(two), role=Role.TTS, timeout_s=0.03) as stream:
        stream.offer(Say(0, "Let me see."))
        one.out.put(Audio(0, b"\0\0"))
        events = asyncio.ensure_future(collect(stream, 3))
        await asyncio.sleep(0.2)
        assert not one.closed
        stream.offer(Say(1, "…"))  # nothing to be heard of it
        await asyncio.sleep(0.2)
        assert not one.closed
        stream.offer(Say(2, "It is four."))
        one.out.put(Audio(2, b"\0\0"))
        stream.flush(1)
        one.out.put(Final(1, 3))
        assert [type(e) for e in await events] == [Audio, Audio, Final]


async def test_a_voice_that_gives_no_sound_of_the_next_piece_hangs() -> None:
    one = Stream()
    async with opened(Pool(one), role=Role.TTS, timeout_s=0.03) as stream:
        stream.offer(Say(0, "Let me see."))
        one.out.put(Audio(0, b"\0\0"))
        stream.offer(Say(1, "It is four."))
        events = await collect(stream, 2)
        assert isinstance(events[1], EngineGone)
        assert events[1].error.code == "tts_timed_out"


async def test_whoever_takes_events_slowly_makes_no_engine_hang() -> None:
    one, two = Stream(), Stream()
    async with opened(Pool(one), Pool(two), role=Role.TTS, timeout_s=0.1) as stream:
        stream.offer(Say(0, "A long answer."))
        stream.flush(1)
        one.out.put(Audio(0, b"\0\0"))
        events = aiter(stream.events())
        await anext(events)
        await asyncio.sleep(0.3)  # the listener has enough for now
        asyncio.get_running_loop().call_later(0.08, one.out.put, Final(1, 1))
        assert isinstance(await anext(events), Final)
        assert not one.closed


async def test_an_engine_that_is_not_there_is_not_tried_out_and_when_it_comes_it_is_used() -> None:
    comes = Stream()
    comes.out.put(Final(1, 16_000, ""))
    first = Pool(comes)
    first.ready = False
    async with resilient_over(first, Pool()) as pool:
        link = pool.chains[Role.STT][0]
        link.breaker.failed(asyncio.get_running_loop().time() - 60)
        pool.failed(link, EngineLost("lost", "Lost."))
        await asyncio.sleep(2 * resilient.NOT_READY_S)
        assert len(first.made) == 1
        first.ready = True
        async with asyncio.timeout(5):
            while link.breaker.is_open:  # noqa: ASYNC110 - the trial comes at its own time
                await asyncio.sleep(0.01)


async def test_an_engine_has_all_its_time_from_when_it_owes_however_long_it_was_silent_before() -> (
    None
):
    one, two = Stream(), Stream()
    async with opened(Pool(one), Pool(two), timeout_s=0.3) as stream:
        events = asyncio.ensure_future(collect(stream, 1))
        await asyncio.sleep(0.25)  # somebody speaks
        stream.flush(1)
        asyncio.get_running_loop().call_later(0.2, one.out.put, Final(1, 0, "in time"))
        assert await events == [Final(1, 0, "in time")]
        assert two.got == []


async def test_an_engine_that_knows_the_language_goes_before_one_that_is_preferred() -> None:
    english, any_ = Pool(Stream(), Stream()), Pool(Stream(), Stream())
    english.capabilities = Capabilities(languages=("en",))
    async with resilient_over(english, any_, role=Role.TTS) as pool:
        await pool.open(Role.TTS, "s", TtsOptions(language="zh-CN"))
        assert (len(english.made), len(any_.made)) == (2, 1)
        await pool.open(Role.TTS, "s", TtsOptions(language="en-GB"))
        assert (len(english.made), len(any_.made)) == (1, 1)
        await pool.open(Role.TTS, "s", TtsOptions())
        assert (len(english.made), len(any_.made)) == (0, 1)
        assert pool.fallbacks == 0  # nobody stood in for anybody


async def test_who_knows_the_language_is_asked_first_even_if_it_failed_lately() -> None:
    english, chinese = Pool(Stream()), Pool(Stream())
    english.capabilities = Capabilities(languages=("en",))
    async with resilient_over(english, chinese, role=Role.TTS) as pool:
        chinese.ready = False
        await pool.open(Role.TTS, "s", TtsOptions(language="zh"))
        assert (len(english.made), len(chinese.made)) == (1, 0)


async def test_one_that_lacks_the_language_is_asked_where_nobody_else_can_be(
    caplog: pytest.LogCaptureFixture,
) -> None:
    english, chinese = Pool(Stream()), Pool(AtCapacity("full", "Full."))
    english.capabilities = Capabilities(languages=("en",))
    async with resilient_over(english, chinese, role=Role.TTS) as pool:
        await pool.open(Role.TTS, "s", TtsOptions(language="zh"))
        assert pool.fallbacks == 1
        assert "tts: engine-0 is used from now on" in caplog.text
