import asyncio
from typing import Any

import pytest

from duologue.core.audio import AudioFrame
from duologue.core.capabilities import Role
from duologue.core.errors import AtCapacity, EngineLost, EngineRefused
from duologue.engines import resilient
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
    def __init__(self, *streams: Stream | Exception) -> None:
        self.streams = list(streams)

    async def open(self, role: Role, key: str, options: Any) -> Stream:
        made = self.streams.pop(0)
        if isinstance(made, Exception):
            raise made
        return made


def frame(number: int) -> AudioFrame:
    return AudioFrame(bytes(1024), 512 * number)


def broken() -> EngineGone:
    return EngineGone(EngineLost("lost", "It died."))


async def opened(*pools: Pool, role: Role = Role.STT, timeout_s: float = 5) -> Any:
    pool = ResilientPool({role: pools}, owed_timeout_s=timeout_s)
    options = SttOptions() if role is Role.STT else TtsOptions()
    return await pool.open(role, "s", options)


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
    stream = await opened(Pool(one), Pool(two))
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
    stream = await opened(Pool(AtCapacity("full", "Full.")), Pool(good))
    stream.offer(frame(0))
    assert good.got == [frame(0)]
    with pytest.raises(AtCapacity):
        await opened(Pool(AtCapacity("full", "Full.")))


async def test_the_last_engine_is_asked_once_more_and_then_its_loss_is_told() -> None:
    one, again = Stream(), Stream()
    stream = await opened(Pool(one, again))
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
    stream = await opened(Pool(one, again))
    one.out.put(EngineGone(EngineRefused("no", "It refuses.")))
    assert isinstance((await collect(stream, 1))[0], EngineGone)
    assert again.got == []


async def test_the_last_engines_loss_is_told_where_no_other_can_be_had() -> None:
    both = Stream()
    stream = await opened(Pool(both), Pool(AtCapacity("full", "Full.")))
    both.out.put(broken())
    assert len(await collect(stream, 5)) == 1


async def test_an_engine_that_owes_and_is_silent_is_given_up() -> None:
    one, two = Stream(), Stream()
    stream = await opened(Pool(one), Pool(two), timeout_s=0.02)
    stream.offer(frame(0))
    stream.flush(1)
    two.out.put(Final(1, 512, "late"))
    assert await collect(stream, 1) == [Final(1, 512, "late")]
    stream = await opened(Pool(Stream()), timeout_s=0.02)
    stream.flush(1)
    (gone,) = await collect(stream, 1)
    assert isinstance(gone, EngineGone)
    assert gone.error.code == "stt_timed_out"


async def test_silence_of_an_engine_that_owes_nothing_is_no_fault() -> None:
    one = Stream()
    stream = await opened(Pool(one), Pool(Stream()), timeout_s=0.01)
    stream.offer(frame(0))
    events = asyncio.ensure_future(collect(stream, 1))
    await asyncio.sleep(0.05)
    assert not one.closed
    stream.flush(1)
    one.out.put(Final(1, 512, "well"))
    assert await events == [Final(1, 512, "well")]


async def test_sound_that_comes_during_a_fallback_keeps_its_order() -> None:
    one, two = Stream(), Stream(room=1)
    stream = await opened(Pool(one), Pool(two))
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
    two.more.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert two.got == [frame(0), frame(1), frame(2), frame(3), 9]
    two.out.put(Final(9, 2048, "all"))
    assert await events == [Final(9, 2048, "all")]


async def test_half_a_sentence_is_not_continued_by_another_voice() -> None:
    one, two = Stream(), Stream()
    stream = await opened(Pool(one), Pool(two), role=Role.TTS)
    stream.offer(Say(0, "Hello there."))
    one.out.put(Audio(0, b"\0\0"))
    one.out.put(broken())
    events = await collect(stream, 3)
    assert [type(e).__name__ for e in events] == ["Audio", "EngineGone"]
    assert two.got == []


async def test_before_the_first_sound_another_voice_may_speak() -> None:
    one, two = Stream(), Stream()
    stream = await opened(Pool(one), Pool(two), role=Role.TTS)
    stream.offer(Say(0, "Hello there."))
    one.out.put(broken())
    two.out.put(Audio(0, b"\0\0"))
    assert await collect(stream, 1) == [Audio(0, b"\0\0")]
    assert two.got == [Say(0, "Hello there.")]
    other = Stream(rate_hz=22_050)
    one = Stream()
    stream = await opened(Pool(one), Pool(other), role=Role.TTS)
    assert stream.rate_hz == 16_000
    one.out.put(broken())
    other.out.put(Audio(0, b"\0\0"))
    assert await collect(stream, 1) == [Audio(0, b"\0\0")]
    assert stream.rate_hz == 22_050


async def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resilient, "MAX_KEPT_FRAMES", 40)
    one, two = Stream(), Stream()
    stream = await opened(Pool(one), Pool(two))
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
    stream = await opened(Pool(one))
    assert stream.offer(frame(0))
    assert not stream.offer(frame(1))
    waiting = asyncio.ensure_future(stream.room())
    one.more.set()
    await waiting
