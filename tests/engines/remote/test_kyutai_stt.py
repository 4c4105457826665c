"""Against a server that speaks Kyutai's wire on a real socket, and hears tones as words."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest

from duologue.core.audio import AudioFrame
from duologue.core.capabilities import Role
from duologue.core.errors import AtCapacity, EngineError, EngineLost, EngineRefused
from duologue.engines.chain import Link
from duologue.engines.pool_inprocess import InProcessPool
from duologue.engines.remote import keys
from duologue.engines.remote.kyutai_stt import KyutaiStt, SessionClock
from duologue.engines.remote.moshi import Patience
from duologue.engines.resilient import ResilientPool
from duologue.ports import EngineGone, Event, Final, Partial, SttOptions
from tests.engines.contract import SttContract, frames_of
from tests.engines.remote.moshi_peer import AsrPeer
from tests.support.sounds import tone

FRAME = 1_280
"""The server's frame at our rate: 80 ms."""


def said(*pitches: int) -> bytes:
    """Each for four frames, with as much silence behind it."""
    parts = [tone(hz, 320, 16_000) + bytes(2 * 4 * FRAME) for hz in pitches]
    return b"".join(parts)


async def until(stream: Any, finals: int = 1) -> list[Event]:
    events: list[Event] = []
    async with asyncio.timeout(10):
        async for event in stream.events():
            events.append(event)
            if sum(isinstance(e, Final) for e in events) == finals:
                break
    return events


async def hear(stream: Any, frames: Sequence[AudioFrame]) -> None:
    async with asyncio.timeout(10):
        for frame in frames:
            while not stream.offer(frame):
                await stream.room()


async def gone(engine: KyutaiStt, options: SttOptions | None = None) -> EngineError:
    stream = engine.open("s", options or SttOptions())
    await hear(stream, frames_of(said(800)))
    stream.flush(1)
    events = await until(stream)
    await stream.aclose(cancel=True)
    assert isinstance(events[-1], EngineGone)
    return events[-1].error


@pytest.fixture
async def peer() -> AsyncIterator[AsrPeer]:
    async with AsrPeer() as peer:
        yield peer


class TestContract(SttContract):
    @pytest.fixture
    async def engine(self, peer: AsrPeer) -> KyutaiStt:
        engine = KyutaiStt(f"{peer.url}?streams=4")
        await asyncio.to_thread(engine.load)
        await asyncio.to_thread(engine.warm_up)
        return engine


async def test_words_come_as_partials_and_the_flush_pushes_out_the_last(peer: AsrPeer) -> None:
    stream = KyutaiStt(peer.url).open("s", SttOptions(word_times=True))
    await hear(stream, frames_of(said(800, 1_200, 600)[: -2 * 4 * FRAME], start=32_000))
    began = time.perf_counter()
    stream.flush(5)  # right behind the last word: without silence after it nothing would ever come
    events = await until(stream)
    took_s = time.perf_counter() - began
    final = events[-1]
    assert isinstance(final, Final)
    assert (final.id, final.upto, final.text) == (5, 32_000 + 20 * FRAME, "w800 w1200 w600")
    assert [e.text for e in events if isinstance(e, Partial)] == [
        "w800", "w800 w1200", "w800 w1200 w600",
    ]  # fmt: skip
    starts = [word.start_ms for word in final.words]
    assert all(abs(ms - (2_000 + 640 * n)) <= 100 for n, ms in enumerate(starts))
    assert all(word.start_ms < word.end_ms <= 2_000 + 1_600 for word in final.words)
    assert took_s < 0.5  # of 0.88 s of silence
    await stream.aclose(cancel=True)


async def test_what_follows_a_flush_goes_on_in_its_own_time(peer: AsrPeer) -> None:
    stream = KyutaiStt(peer.url).open("s", SttOptions(word_times=True))
    first, second = said(800), said(1_000, 700)
    await hear(stream, frames_of(first))
    stream.flush(1)
    stream.flush(2)
    await hear(stream, frames_of(second, start=80_000))
    stream.flush(3)
    finals = [e for e in await until(stream, 3) if isinstance(e, Final)]
    assert [(f.id, f.text) for f in finals] == [(1, "w800"), (2, ""), (3, "w1000 w700")]
    assert [f.upto for f in finals] == [len(first) // 2, len(first) // 2, 80_000 + len(second) // 2]
    assert [round(word.start_ms, -2) for word in finals[2].words] == [5_100, 5_700]
    assert peer.connections == 1
    await stream.aclose()


async def test_a_flush_costs_no_more_silence_than_the_delay_asks(peer: AsrPeer) -> None:
    stream = KyutaiStt(f"{peer.url}?delay_s=0.5").open("s", SttOptions())
    await hear(stream, frames_of(tone(800, 1_600, 16_000)))
    stream.flush(1)
    await until(stream)
    await stream.aclose()
    sounding = sum(pitch > 0 for pitch in peer.frames)
    assert sounding >= 20
    assert len(peer.frames) - sounding <= 2 + 7 + 2


async def test_the_larger_model_gets_its_lead_and_its_longer_delay() -> None:
    async with AsrPeer(delay=32) as peer:
        stream = KyutaiStt(f"{peer.url}?delay_s=2.5&lead_s=1").open(
            "s", SttOptions(word_times=True)
        )
        await hear(stream, frames_of(said(800)))
        stream.flush(1)
        final = (await until(stream))[-1]
        assert isinstance(final, Final)
        assert final.text == "w800"
        assert peer.frames[:12] == [0] * 12
        assert abs(final.words[0].start_ms) <= 100
        await stream.aclose()


async def test_others_of_the_same_batch_change_nothing(peer: AsrPeer) -> None:
    engine = KyutaiStt(peer.url)
    streams = [engine.open(str(n), SttOptions()) for n in range(3)]
    for number, stream in enumerate(streams):
        for frame in frames_of(said(*(500 + 200 * number + 100 * n for n in range(5)))):
            assert stream.offer(frame)
    for stream in streams:
        stream.flush(1)
    for number, stream in enumerate(streams):
        final = (await until(stream))[-1]
        assert isinstance(final, Final)
        assert final.text.split() == [f"w{500 + 200 * number + 100 * n}" for n in range(5)]
        await stream.aclose()


async def test_a_slow_server_holds_us_back_and_loses_nothing(peer: AsrPeer) -> None:
    peer.reads.clear()
    engine = KyutaiStt(peer.url)
    stream = engine.open("s", SttOptions())
    pitches = [500 + 100 * (n % 50) for n in range(90)]
    waiting = frames_of(said(*pitches))
    offered = 0
    async with asyncio.timeout(10):
        while offered < len(waiting) and stream.offer(waiting[offered]):
            offered += 1
            await asyncio.sleep(0)
    assert offered < len(waiting)
    peer.reads.set()
    await hear(stream, waiting[offered:])
    stream.flush(1)
    final = (await until(stream))[-1]
    assert isinstance(final, Final)
    assert final.text.split() == [f"w{hz}" for hz in pitches]
    await stream.aclose()


async def test_a_full_server_is_at_capacity_and_the_next_engine_is_asked() -> None:
    async with AsrPeer(places=1) as full, AsrPeer() as free:
        first = KyutaiStt(full.url).open("a", SttOptions())
        await hear(first, frames_of(said(800)))
        first.flush(1)
        await until(first)
        error = await gone(KyutaiStt(full.url))
        assert (type(error), error.code) == (AtCapacity, "stt_rate_limited")
        chain = [Link(peer.url, InProcessPool(KyutaiStt(peer.url))) for peer in (full, free)]
        stream = await ResilientPool({Role.STT: chain}).open(Role.STT, "b", SttOptions())
        await hear(stream, frames_of(said(800, 900)))
        stream.flush(1)
        final = (await until(stream))[-1]
        assert isinstance(final, Final)
        assert final.text == "w800 w900"
        await stream.aclose(cancel=True)
        await first.aclose(cancel=True)


async def test_a_lost_connection_is_told_and_the_utterance_is_taken_up_again(peer: AsrPeer) -> None:
    pools = [Link(f"{n}", InProcessPool(KyutaiStt(peer.url))) for n in range(2)]
    pool = ResilientPool({Role.STT: pools})
    stream = await pool.open(Role.STT, "s", SttOptions())
    await hear(stream, frames_of(said(800, 900)))
    events = stream.events()
    async with asyncio.timeout(10):
        assert isinstance(await anext(aiter(events)), Partial)
    peer.drop()
    stream.flush(1)
    final = None
    async with asyncio.timeout(10):
        async for event in events:
            if isinstance(event, Final):
                final = event
                break
    assert final is not None
    assert final.text == "w800 w900"
    assert peer.connections == 2
    await stream.aclose(cancel=True)


async def test_a_server_that_dies_ends_the_stream(peer: AsrPeer) -> None:
    stream = KyutaiStt(peer.url).open("s", SttOptions())
    await hear(stream, frames_of(said(800, 900)))
    async with asyncio.timeout(10):
        assert isinstance(await anext(aiter(stream.events())), Partial)
    peer.drop()
    events = await until(stream)
    assert isinstance(events[-1], EngineGone)
    error = events[-1].error
    assert (type(error), error.code) == (EngineLost, "stt_broke_off")
    assert peer.url in str(error)
    assert stream.offer(AudioFrame(b"\0\0", 0))  # whoever keeps it offers it elsewhere
    await stream.aclose()


async def test_cancelling_frees_the_place_on_the_server(peer: AsrPeer) -> None:
    took_ms = []
    for _ in range(5):
        stream = KyutaiStt(peer.url).open("s", SttOptions())
        await hear(stream, frames_of(said(800, 900)))
        async with asyncio.timeout(10):
            await anext(aiter(stream.events()))
        peer.closed.clear()
        began = time.perf_counter()
        await stream.aclose(cancel=True)
        async with asyncio.timeout(10):
            await peer.closed.wait()
        took_ms.append((time.perf_counter() - began) * 1000)
    assert min(took_ms) < 50, took_ms
    assert peer.open == 0


async def test_a_key_opens_its_server_and_no_other() -> None:
    async with AsrPeer(keys=("secret-key",)) as peer:
        error = await gone(KyutaiStt(peer.url))
        assert (type(error), error.code) == (EngineRefused, "stt_unauthorised")
        keys.provide({"elsewhere": "secret-key"})
        try:
            assert (await gone(KyutaiStt(peer.url))).code == "stt_unauthorised"
            keys.provide(keys.read(f"{peer.url.removeprefix('ws://')}=secret-key"))
            await asyncio.to_thread(KyutaiStt(peer.url).warm_up)
        finally:
            keys.provide({})


async def test_what_it_cannot_do_it_refuses(peer: AsrPeer) -> None:
    error = await gone(KyutaiStt(peer.url), SttOptions(task="translate"))
    assert error.code == "stt_translation_not_supported"
    assert (await gone(KyutaiStt(f"{peer.url}/elsewhere"))).code == "stt_url_wrong"


async def test_nobody_there() -> None:
    async with AsrPeer() as peer:
        url = peer.url
    error = await gone(KyutaiStt(url))
    assert (type(error), error.code) == (EngineLost, "stt_unreachable")
    assert error.remedy


async def test_somebody_who_says_nothing() -> None:
    came, gone_again = asyncio.Event(), asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        came.set()
        await reader.read()
        gone_again.set()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        patience = Patience(connect_s=0.05)
        error = await gone(KyutaiStt(f"ws://127.0.0.1:{port}", patience=patience))
        assert error.code == "stt_unreachable"
        came.clear()
        gone_again.clear()
        stream = KyutaiStt(f"ws://127.0.0.1:{port}").open("s", SttOptions())
        async with asyncio.timeout(10):
            await came.wait()
            await stream.aclose(cancel=True)  # in the middle of the handshake
            await gone_again.wait()


async def test_a_server_whose_model_hangs_is_not_waited_for() -> None:
    async with AsrPeer() as peer:
        peer.may_step.clear()
        patience = Patience(ready_s=0.05)
        assert (await gone(KyutaiStt(peer.url, patience=patience))).code == "stt_timed_out"


def test_the_wire_holds_floats_as_they_are() -> None:
    import msgspec

    from duologue.engines.remote import moshi

    sound = np.linspace(-1, 1, moshi.FRAME_SAMPLES, dtype=np.float32)
    message = msgspec.msgpack.decode(moshi.audio_message(sound))
    assert message["type"] == "Audio"
    assert np.array_equal(np.asarray(message["pcm"], np.float32), sound)
    for pcm in ([0.5, -0.5], [1, 0, -1], np.linspace(-1, 1, 70_000).tolist()):
        audio = msgspec.msgpack.decode(
            msgspec.msgpack.encode({"type": "Audio", "pcm": pcm}), type=moshi.Audio
        )
        got = np.frombuffer(moshi.samples_of(audio), "<i2")
        assert np.allclose(got / 32_767, pcm, atol=2e-5)
    single = msgspec.msgpack.decode(moshi.audio_message(sound), type=moshi.Audio)
    assert np.allclose(np.frombuffer(moshi.samples_of(single), "<i2") / 32_767, sound, atol=2e-5)


def test_the_servers_seconds_are_found_on_the_sessions_stream() -> None:
    clock = SessionClock()
    clock.silence(16_000)
    for n in range(10):
        clock.sound(160_000 + 1_600 * n, 1_600)
    clock.silence(16_000)
    clock.sound(176_000, 16_000)  # goes on where the sound ended
    clock.sound(320_000, 16_000)  # and this somewhere else
    at_ms = [(0.5, 10_000), (1.0, 10_000), (1.5, 10_500), (2.0, 11_000), (2.5, 11_000)]
    at_ms += [(3.0, 11_000), (3.5, 11_500), (4.0, 20_000), (4.5, 20_500), (9.0, 21_000)]
    assert [(s, clock.ms(s)) for s, _ in at_ms] == at_ms
