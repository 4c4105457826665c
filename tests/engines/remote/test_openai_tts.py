"""Against our own `/v1/audio/speech`, and against a server that does what a test tells it."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI

from duologue.core.errors import AtCapacity, EngineError, EngineLost, EngineRefused
from duologue.core.wav import wav
from duologue.engines.remote import keys
from duologue.engines.remote.http import Patience
from duologue.engines.remote.openai_tts import MAX_CHARS, OpenAITts, parts
from duologue.engines.remote.wav import NotSound, SoundReader
from duologue.ports import Audio, EngineGone, Event, Final, Say, TtsOptions
from tests.engines.chat.chat_server import Exchange
from tests.engines.contract import TtsContract
from tests.engines.remote.audio_server import (
    KEY,
    Answer,
    AudioServer,
    Request,
    begin,
    one_by_one,
    refuses,
    sends,
)
from tests.support.sounds import level_db, tone

SOUND = tone(440, 500)
SHORT = Patience(connect_s=0.5, first_s=0.05, next_s=0.05, models_s=0.5, warm_up_s=5)


@asynccontextmanager
async def at(
    url: str, options: str = "", patience: Patience | None = None
) -> AsyncIterator[OpenAITts]:
    engine = OpenAITts(f"{url}|tiny{options}", patience=patience)
    await asyncio.to_thread(engine.load)
    yield engine
    await engine.aclose()


@asynccontextmanager
async def against(
    answer: Answer, options: str = "", patience: Patience | None = None, **server: Any
) -> AsyncIterator[tuple[OpenAITts, AudioServer]]:
    async with AudioServer(answer, **server) as there, at(there.url, options, patience) as engine:
        yield engine, there


class TestContract(TtsContract):
    """Behind it is our own route with a real voice."""

    CAN_NAME_WORDS = False

    @pytest.fixture
    async def engine(self, audio_routes: str) -> AsyncIterator[OpenAITts]:
        async with at(audio_routes, "?streams=4") as engine:
            yield engine


async def until(stream: Any, finals: int = 1) -> list[Event]:
    events: list[Event] = []
    async with asyncio.timeout(10):
        async for event in stream.events():
            events.append(event)
            if sum(isinstance(e, Final) for e in events) == finals:
                break
    return events


async def spoken(engine: OpenAITts, *texts: str, **options: Any) -> list[Event]:
    stream = engine.open("s", TtsOptions(**options))
    for number, text in enumerate(texts or ("Hello.",)):
        assert stream.offer(Say(number, text))
    stream.flush(1)
    events = await until(stream)
    await stream.aclose()
    return events


def sound_of(events: Sequence[Event], number: int = 0) -> bytes:
    return b"".join(e.pcm for e in events if isinstance(e, Audio) and e.number == number)


async def error_of(engine: OpenAITts) -> EngineError:
    gone = (await spoken(engine))[-1]
    assert isinstance(gone, EngineGone), gone
    return gone.error


# --- what is sent ---
async def test_the_request_is_the_one_that_the_official_client_sends() -> None:
    async with against(sends(SOUND), "?voice=coral&instructions=Be%20brief.") as (engine, server):
        await spoken(engine, " Hello\nthere. ", speed=9.0)
        async with AsyncOpenAI(base_url=server.url, api_key="none") as client:
            got = await client.audio.speech.create(
                input="Hello there.", model="tiny", voice="coral", instructions="Be brief.",
                response_format="pcm", speed=4.0,
            )  # fmt: skip
            assert got.content == SOUND
        ours, theirs = server.requests
        assert (ours.path, ours.body) == (theirs.path, theirs.body)
        await spoken(engine, voice="alto")
        assert server.requests[-1].body["voice"] == "alto"
        assert "speed" not in server.requests[-1].body


async def test_the_next_piece_is_asked_for_while_the_present_one_comes() -> None:
    release = asyncio.Event()
    asked = asyncio.Queue[str]()

    async def held(exchange: Exchange, request: Request) -> None:
        asked.put_nowait(request.body["input"])
        await begin(exchange, "audio/pcm")
        await exchange.raw(SOUND[:960])
        await release.wait()
        await exchange.raw(SOUND[960:])
        exchange.close()

    async with against(held) as (engine, server):
        stream = engine.open("s", TtsOptions())
        for number in range(5):
            stream.offer(Say(number, f"Piece {number}."))
        stream.flush(1)
        async with asyncio.timeout(10):
            first = await anext(aiter(stream.events()))
            assert isinstance(first, Audio)  # of a piece that is not whole there
            assert [await asked.get() for _ in range(2)] == ["Piece 0.", "Piece 1."]
        for _ in range(200):
            await asyncio.sleep(0)
        assert asked.empty()
        release.set()
        events = [first, *await until(stream)]
        assert [sound_of(events, n) for n in range(5)] == [SOUND] * 5
        assert [e.number for e in events if isinstance(e, Audio)] == sorted(
            e.number for e in events if isinstance(e, Audio)
        )
        assert server.most_at_work <= 3  # the server has not seen the end of the one before
        await stream.aclose()


async def test_a_failure_is_told_after_the_sound_that_came_before_it() -> None:
    async with against(one_by_one(sends(SOUND), refuses(500, "boom"))) as (engine, _):
        events = await spoken(engine, "One.", "Two.", "Three.")
        assert sound_of(events, 0) == SOUND
        assert isinstance(events[-1], EngineGone)
        assert events[-1].error.code == "tts_failed"


async def test_what_nobody_takes_is_not_read() -> None:
    sent = 0

    async def endless(exchange: Exchange, request: Request) -> None:
        nonlocal sent
        await begin(exchange, "audio/pcm")
        while sent < 2**28:
            await exchange.raw(bytes(65_536))
            sent += 65_536

    async with against(endless) as (engine, server):
        stream = engine.open("s", TtsOptions())
        stream.offer(Say(0, "Hello."))
        before = -1
        async with asyncio.timeout(20):
            while sent != before or not sent:  # until the server stands still
                before = sent
                for _ in range(300):
                    await asyncio.sleep(0)
        assert sent < 2**25
        server.gone.clear()
        await stream.aclose(cancel=True)
        async with asyncio.timeout(10):
            await server.gone.wait()


async def test_long_texts_are_asked_for_in_parts() -> None:
    async with against(sends(SOUND)) as (engine, server):
        events = await spoken(engine, "word " * 1_700, "End.")
        assert [len(r.body["input"]) <= MAX_CHARS for r in server.requests] == [True] * 4
        assert "".join(r.body["input"] for r in server.requests[:3]).count("word") == 1_700
        assert sound_of(events, 0) == SOUND * 3
        assert events[-1] == Final(1, 2)
    assert parts("x" * 9_000) == ["x" * 4_000, "x" * 4_000, "x" * 1_000]
    assert parts(" … ") == []


async def test_connections_are_kept_and_one_that_was_closed_costs_nothing() -> None:
    async with against(sends(SOUND)) as (engine, server):
        for _ in range(4):
            assert sound_of(await spoken(engine)) == SOUND
        assert server.connections == 2
    async with against(sends(SOUND), hang_up=True) as (engine, server):
        for _ in range(3):
            assert sound_of(await spoken(engine)) == SOUND


# --- what comes back ---
async def test_wav_is_recognised_whatever_it_is_called() -> None:
    for kind in ("audio/wav", "audio/pcm", "application/octet-stream"):
        async with against(sends(wav(SOUND, 24_000), kind)) as (engine, _):
            assert sound_of(await spoken(engine)) == SOUND


async def test_wav_of_another_rate_is_converted() -> None:
    async with against(sends(wav(tone(440, 500, 16_000), 16_000), "audio/wav")) as (engine, _):
        pcm = sound_of(await spoken(engine))
        assert abs(len(pcm) - len(SOUND)) <= 4
        assert level_db(pcm, 440) == pytest.approx(level_db(SOUND, 440), abs=0.2)


async def test_raw_samples_of_another_rate_are_declared() -> None:
    async with against(sends(SOUND), "?rate_hz=22050") as (engine, _):
        assert engine.capabilities.rate_hz == 22_050
        stream = engine.open("s", TtsOptions())
        assert stream.rate_hz == 22_050
        await stream.aclose(cancel=True)


@pytest.mark.parametrize(
    "answer",
    [
        sends(b"ID3....", "audio/mpeg"),
        sends(b'{"error": "no"}', "application/json"),
        sends(wav(SOUND, 24_000).replace(b"\x01\x00\x01\x00", b"\x01\x00\x02\x00", 1), "audio/wav"),
    ],
)
async def test_what_is_no_such_sound_is_refused(answer: Answer) -> None:
    async with against(answer) as (engine, _):
        error = await error_of(engine)
        assert (error.code, type(error)) == ("tts_bad_answer", EngineRefused)
        assert "pcm" in error.remedy


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 44, 45, 100, 10_000])
@pytest.mark.parametrize("size", ["known", "unknown", "none"])
def test_sound_is_read_however_it_is_cut(piece: int, size: str) -> None:
    pcm = SOUND[:1_000]
    data = {"known": wav(pcm, 24_000) + b"LIST\x04\x00\x00\x00junk", "none": pcm}.get(size)
    if data is None:
        data = wav(pcm, 24_000).replace(len(pcm).to_bytes(4, "little"), b"\xff" * 4)
    reader, got = SoundReader(24_000), b""
    for at in range(0, len(data), piece):
        got += reader.push(data[at : at + piece])
    assert got + reader.finish() == pcm


def test_headers_of_all_kinds() -> None:
    pcm = SOUND[:100]
    plain = wav(pcm, 24_000)
    odd_chunk = plain[:12] + b"LIST\x03\x00\x00\x00abc\x00" + plain[12:]
    guid = b"\x01\x00\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
    extended = b"fmt \x28\x00\x00\x00\xfe\xff" + plain[22:36] + b"\x16\x00\x10\x00\x04\x00\x00\x00"
    for data in (odd_chunk, plain[:12] + extended + guid + plain[36:]):
        reader = SoundReader(24_000)
        assert reader.push(data) + reader.finish() == pcm
    for data in (
        b"RIFF" + bytes(70_000),
        plain[:12] + plain[36:],
        plain[:12] + b"fmt " + b"\xff" * 70_000,
    ):
        with pytest.raises(NotSound):
            SoundReader(24_000).push(data)
    assert SoundReader(24_000).finish() == b""
    short = SoundReader(24_000)
    assert short.push(b"\1\2") + short.finish() == b"\1\2"


# --- what goes wrong ---
@pytest.mark.parametrize(
    ("status", "message", "code", "kind"),
    [
        (401, f"Incorrect API key provided: {KEY}", "tts_unauthorised", EngineRefused),
        (404, "The model `tiny` does not exist", "tts_model_unknown", EngineRefused),
        (404, "Not Found", "tts_url_wrong", EngineRefused),
        (429, "Slow down", "tts_rate_limited", AtCapacity),
        (400, "voice must be one of", "tts_refused", EngineRefused),
        (503, "Loading model", "tts_failed", EngineLost),
    ],
)
async def test_a_refusal_says_who_and_why_and_not_the_key(
    status: int, message: str, code: str, kind: type[EngineError]
) -> None:
    async with AudioServer(refuses(status, message), api_key=KEY) as server:
        keys.provide({server.host: KEY})
        try:
            async with at(server.url) as engine:
                error = await error_of(engine)
        finally:
            keys.provide({})
        assert (error.code, type(error)) == (code, kind)
        assert server.url in str(error)
        assert KEY not in str(error)
        assert message.replace(KEY, "***") in str(error)


async def test_a_server_that_stops_in_the_middle() -> None:
    async def dying(exchange: Exchange, request: Request) -> None:
        await exchange.begin("audio/pcm")
        await exchange.raw(b"3c0\r\n" + SOUND[:960] + b"\r\n")
        exchange.close()

    async def stuck(exchange: Exchange, request: Request) -> None:
        await exchange.begin("audio/pcm")
        await exchange.raw(b"3c0\r\n" + SOUND[:960] + b"\r\n")
        await exchange.gone()

    async def mute(exchange: Exchange, request: Request) -> None:
        await exchange.gone()

    async with against(one_by_one(dying, stuck, mute), patience=SHORT) as (engine, _):
        for code, samples in (("tts_broke_off", 960), ("tts_timed_out", 960), ("tts_timed_out", 0)):
            events = await spoken(engine)
            assert len(sound_of(events)) == samples
            gone = events[-1]
            assert isinstance(gone, EngineGone)
            assert (gone.error.code, type(gone.error)) == (code, EngineLost)


async def test_cancelling_hangs_up_on_the_present_and_the_next_piece() -> None:
    took_ms = []
    left = asyncio.Semaphore(0)

    async def held(exchange: Exchange, request: Request) -> None:
        await begin(exchange, "audio/pcm")
        await exchange.raw(SOUND)
        await exchange.gone()
        left.release()

    async with against(held) as (engine, server):
        for number in range(5):
            stream = engine.open("s", TtsOptions())
            stream.offer(Say(0, "One."))
            stream.offer(Say(1, "Two."))
            async with asyncio.timeout(10):
                await anext(aiter(stream.events()))
                while len(server.requests) < 2 * number + 2:  # noqa: ASYNC110 - nobody's event here
                    await asyncio.sleep(0)
            began = time.perf_counter()
            await stream.aclose(cancel=True)
            async with asyncio.timeout(10):
                await left.acquire()
                await left.acquire()
            took_ms.append((time.perf_counter() - began) * 1000)
    assert min(took_ms) < 50, took_ms


async def test_ready_means_that_it_has_spoken() -> None:
    async with against(sends(SOUND)) as (engine, server):
        await asyncio.to_thread(engine.warm_up)
        assert server.requests[-1].body["input"] == "Hello."
    async with against(refuses(404, "no model tiny")) as (engine, _):
        with pytest.raises(EngineRefused) as refused:
            await asyncio.to_thread(engine.warm_up)
        assert refused.value.code == "tts_model_unknown"


def test_the_hosted_voice_needs_no_address() -> None:
    engine = OpenAITts("|gpt-4o-mini-tts?voice=coral")
    assert engine.http.place.url == "https://api.openai.com/v1"
    keys.provide(keys.read(KEY))
    try:
        assert engine.http.place.key == KEY
    finally:
        keys.provide({})


async def test_sound_comes_before_it_is_whole() -> None:
    """The first sound is given on as soon as its first bytes are here."""
    go_on = asyncio.Event()

    async def slow(exchange: Exchange, request: Request) -> None:
        await begin(exchange, "audio/pcm")
        await exchange.raw(np.arange(10, dtype="<i2").tobytes())
        await go_on.wait()
        exchange.close()

    async with against(slow) as (engine, _):
        stream = engine.open("s", TtsOptions())
        stream.offer(Say(0, "Hello."))
        async with asyncio.timeout(10):
            first = await anext(aiter(stream.events()))
        assert first == Audio(0, np.arange(10, dtype="<i2").tobytes())
        go_on.set()
        await stream.aclose(cancel=True)
