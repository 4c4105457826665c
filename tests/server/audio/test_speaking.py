"""Speech, asked for with the stock `openai` client: each format is decoded again and its tone measured."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from openai import BadRequestError, InternalServerError, RateLimitError

from duologue.core.capabilities import Capabilities, Role
from duologue.engines.fakes import tone_hz
from duologue.ports import TtsOptions
from duologue.server.audio.encode import KINDS
from duologue.server.audio.speaking import MAX_BODY_BYTES, MAX_CHARS, pieces
from tests.server.audio.stage import RATE, Service, level_db, pitch_hz, samples, service

FORMATS = tuple(KINDS)
TEXT = "Good morning, this is a text. It has two sentences."
URL = "/v1/audio/speech"

SOME_SOUND_BYTES = 1_500
"""More than any format's headers, and less than it needs for half a second of a tone."""


@pytest.fixture
async def served() -> AsyncIterator[Service]:
    async with service(tts="tts_s=2") as running:
        yield running
        await running.all_streams_closed()


async def speak(served: Service, **how: Any) -> bytes:
    how = {"model": "tts-1", "input": TEXT, "voice": "alloy", **how}
    return (await served.client.audio.speech.create(**how)).read()


def tts_options(served: Service) -> TtsOptions:
    role, options = served.pools.opened[-1]
    assert role is Role.TTS
    assert isinstance(options, TtsOptions)
    return options


# --- formats ---
@pytest.mark.parametrize("fmt", FORMATS)
async def test_a_text_is_spoken_in_every_format(served: Service, fmt: str) -> None:
    sound = samples(await speak(served, response_format=fmt), fmt)
    assert len(sound) / RATE == pytest.approx(2.0, abs=0.1)
    assert level_db(sound) == pytest.approx(0, abs=1)
    assert pitch_hz(sound) == pytest.approx(tone_hz(pieces(TEXT)[0].strip()), rel=0.002)


@pytest.mark.parametrize("fmt", FORMATS)
async def test_24_khz_stay_24_khz(fmt: str) -> None:
    """A tone at 10 kHz is there only if nothing on the way has narrowed the band."""
    async with service(tts="tts_s=2,tts_hz=10000") as served:
        sound = samples(await speak(served, response_format=fmt), fmt)
        assert level_db(sound) == pytest.approx(0, abs=1)
        assert pitch_hz(sound) == pytest.approx(10_000, rel=0.002)


async def test_mp3_is_what_comes_unasked_and_each_has_its_type(served: Service) -> None:
    raw = served.client.audio.speech.with_raw_response
    fmt: Any
    for fmt, kind in KINDS.items():
        answer = await raw.create(model="x", input="Hi.", voice="x", response_format=fmt)
        assert answer.headers["content-type"] == kind.media_type
        assert "content-length" not in answer.headers
    answer = await raw.create(model="x", input="Hi.", voice="x")
    assert answer.headers["content-type"] == "audio/mpeg"


async def test_what_cannot_be_spoken_is_a_short_silence(served: Service) -> None:
    for text in ("...", " ", "\n"):
        sound = samples(await speak(served, input=text, response_format="wav"), "wav")
        assert len(sound) == RATE // 10
        assert not sound.any()


async def test_the_longest_text_is_spoken_to_its_end() -> None:
    async with service() as served:
        text = ("Well! " * 700)[:MAX_CHARS]  # as many pieces as there can be
        sound = samples(await speak(served, input=text, response_format="pcm"), "pcm")
        spoken = sum(len(piece) for piece in pieces(text))
        assert len(sound) / RATE == pytest.approx(spoken / 14, rel=0.01)


# --- events ---
async def test_events_carry_the_same_file(served: Service) -> None:
    create = served.client.audio.speech.with_streaming_response.create
    async with create(
        model="x", input=TEXT, voice="x", response_format="pcm", stream_format="sse"
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line async for line in answer.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    *deltas, done = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert {each["type"] for each in deltas} == {"speech.audio.delta"}
    assert len(deltas) > 1
    sound = b"".join(base64.b64decode(each["audio"]) for each in deltas)
    assert sound == await speak(served, response_format="pcm")
    assert done["type"] == "speech.audio.done"
    assert done["usage"] == {
        "input_tokens": len(TEXT) // 4,
        "output_tokens": 40,
        "total_tokens": len(TEXT) // 4 + 40,
    }


# --- streaming ---
@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("how", ["audio", "sse"])
async def test_the_first_sound_is_sent_before_the_last_is_made(fmt: Any, how: Any) -> None:
    async with service(tts="tts_s=2") as served:
        first_is_here = asyncio.Event()
        engine: Any = served.tts.engine
        _hold_back_the_end(engine, first_is_here)
        create = served.client.audio.speech.with_streaming_response.create
        got = 0
        async with (
            asyncio.timeout(10),
            create(
                model="x",
                input=TEXT,
                voice="x",
                response_format=fmt,
                stream_format=how,
            ) as answer,
        ):
            async for data in answer.iter_bytes():
                got += len(data)
                if got > SOME_SOUND_BYTES:
                    first_is_here.set()


def _hold_back_the_end(engine: Any, until: asyncio.Event) -> None:
    """Streams of the voice give their first chunk at once, and the rest only when it has arrived."""
    real_open = engine.open

    def open_(key: str, options: TtsOptions) -> Any:
        stream = real_open(key, options)
        real_events = stream.events

        async def events() -> AsyncIterator[Any]:
            is_first = True
            async for event in real_events():
                yield event
                if is_first:
                    await until.wait()
                is_first = False

        stream.events = events
        return stream

    engine.open = open_


async def test_a_file_is_not_paced() -> None:
    async with service(tts="tts_s=60") as served:
        loop = asyncio.get_running_loop()
        began = loop.time()
        size = len(await speak(served, response_format="pcm"))
        assert size == pytest.approx(60 * RATE * 2, abs=8)
        assert loop.time() - began < 10


async def test_a_client_that_hangs_up_stops_the_voice() -> None:
    async with service(tts="tts_s=2") as served:
        _hold_back_the_end(served.tts.engine, asyncio.Event())
        create = served.client.audio.speech.with_streaming_response.create
        async with create(model="x", input=TEXT, voice="x", response_format="wav") as answer:
            async for _ in answer.iter_bytes():
                assert served.tts.streams == 1
                break
        await served.all_streams_closed()


async def test_a_client_that_hangs_up_before_the_first_sound_stops_the_voice() -> None:
    async with service(tts="tts_ms=100000") as served:
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(speak(served))
            async with asyncio.timeout(10):
                while not served.tts.streams:  # noqa: ASYNC110 - the pool tells nobody
                    await asyncio.sleep(0.01)
            asking.cancel()
        await served.all_streams_closed()


async def test_a_client_that_does_not_read_holds_the_voice_back_and_is_not_buffered() -> None:
    async with service(tts="tts_s=600") as served:
        taken = _count_chunks(served.tts.engine)
        create = served.client.audio.speech.with_streaming_response.create
        async with create(model="x", input=TEXT, voice="x", response_format="wav") as answer:
            async for _ in answer.iter_bytes(1_000):
                await asyncio.sleep(1)
                break
            assert taken[0] < 600  # of 1200; the rest of what was sent lies in the sockets
        await served.all_streams_closed()


def _count_chunks(engine: Any) -> list[int]:
    taken = [0]
    real_open = engine.open

    def open_(key: str, options: TtsOptions) -> Any:
        stream = real_open(key, options)
        real_events = stream.events

        async def events() -> AsyncIterator[Any]:
            async for event in real_events():
                taken[0] += 1
                yield event

        stream.events = events
        return stream

    engine.open = open_
    return taken


# --- what the engine is told ---
async def test_voice_and_speed_reach_the_engine(served: Service) -> None:
    await speak(served, voice="nova", speed=1.5, instructions="Whisper.", model="gpt-9-tts")
    assert tts_options(served) == TtsOptions(voice="nova", speed=1.5)
    await speak(served, voice={"id": "voice_1"}, speed=4)
    assert tts_options(served) == TtsOptions(voice="voice_1", speed=4)
    await speak(served, voice="default")
    assert tts_options(served).voice == ""


def test_a_text_begins_with_a_short_piece() -> None:
    first, *others = pieces("Well then everybody, here is a longer text. And more.")
    assert first == "Well then everybody, "
    assert others == ["here is a longer text. ", "And more."]
    assert pieces("...") == []


# --- errors ---
@pytest.mark.parametrize(
    ("how", "code", "param"),
    [
        ({"input": ""}, "invalid_value", "input"),
        ({"input": "a" * (MAX_CHARS + 1)}, "invalid_value", "input"),
        ({"response_format": "midi"}, "invalid_value", "response_format"),
        ({"speed": 5}, "invalid_value", "speed"),
        ({"speed": 0.1}, "invalid_value", "speed"),
        ({"stream_format": "smoke"}, "invalid_value", "stream_format"),
        ({"voice": 7}, "invalid_value", "voice"),
        ({"voice": {"name": "x"}}, "invalid_value", "voice"),
        ({"extra_body": {"model": None}}, "invalid_value", "model"),
    ],
)
async def test_what_is_wrong_is_said(
    served: Service, how: dict[str, Any], code: str, param: str
) -> None:
    with pytest.raises(BadRequestError) as found:
        await speak(served, **how)
    body: Any = found.value.body
    assert (body["code"], body["param"], body["type"]) == (code, param, "invalid_request_error")
    assert f"'{param}'" in body["message"]
    assert served.pools.opened == []


async def test_bodies_that_are_none(served: Service) -> None:
    async with httpx.AsyncClient(base_url=served.url) as client:
        for body, status, code in (
            (b"", 400, "invalid_json"),
            (b"{", 400, "invalid_json"),
            (b"[]", 400, "invalid_value"),
            (b"{}", 400, "missing_required_parameter"),
            (b" " * (MAX_BODY_BYTES + 1), 413, "request_too_large"),
        ):
            answer = await client.post(URL, content=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert (await client.get(URL)).json()["error"]["code"] == "method_not_allowed"


async def test_a_voice_that_fails_before_its_first_sound_is_an_error() -> None:
    async with service(tts="fail=1") as served:
        with pytest.raises(InternalServerError) as found:
            await speak(served)
        assert found.value.code == "fake_tts_lost"
        await served.all_streams_closed()


def _break_after_the_first(engine: Any) -> None:
    from duologue.core.errors import EngineLost
    from duologue.ports import EngineGone

    real_open = engine.open

    def open_(key: str, options: TtsOptions) -> Any:
        stream = real_open(key, options)
        real_events = stream.events

        async def events() -> AsyncIterator[Any]:
            async for event in real_events():
                yield event
                yield EngineGone(EngineLost("tts_lost", "It broke."))

        stream.events = events
        return stream

    engine.open = open_


async def test_a_voice_that_breaks_off_does_not_look_as_if_it_had_finished() -> None:
    async with service(tts="tts_s=2") as served:
        _break_after_the_first(served.tts.engine)
        async with httpx.AsyncClient(base_url=served.url) as client:
            asked = {"model": "x", "input": TEXT, "voice": "x", "response_format": "pcm"}
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
                await client.post(URL, json=asked)
            answer = await client.post(URL, json={**asked, "stream_format": "sse"})
            *_, last = answer.text.strip().split("\n\n")
            assert json.loads(last.removeprefix("data: "))["error"]["code"] == "tts_lost"
        await served.all_streams_closed()


async def test_too_many_texts_at_a_time_are_told_when_to_come_again() -> None:
    async with service(tts="tts_ms=100000", max_speeches=1) as served:
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(speak(served))
            async with asyncio.timeout(10):
                while not served.tts.streams:  # noqa: ASYNC110 - the pool tells nobody
                    await asyncio.sleep(0.01)
            with pytest.raises(RateLimitError) as full:
                await speak(served)
            assert full.value.code == "rate_limit_exceeded"
            assert int(full.value.response.headers["retry-after"]) >= 1
            first.cancel()
        await served.all_streams_closed()


async def test_a_full_engine_is_told_with_a_time() -> None:
    async with service() as served:
        served.tts.engine.capabilities = Capabilities(max_streams=0)
        with pytest.raises(RateLimitError) as full:
            await speak(served)
        assert full.value.code == "tts_at_capacity"
        assert full.value.response.headers["retry-after"] == "2"
