"""Against our own `/v1/audio/transcriptions`, and against a server that does what a test tells it."""

import asyncio
import io
import time
import wave
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI

from duologue.core.audio import AudioFrame
from duologue.core.errors import AtCapacity, EngineError, EngineLost, EngineRefused, SetupError
from duologue.engines.remote import keys
from duologue.engines.remote.http import Patience
from duologue.engines.remote.openai_stt import MAX_PIECE_MS, OpenAIStt, prompt_of
from duologue.ports import EngineGone, Event, Final, Partial, SttOptions
from tests.engines.chat.chat_server import Exchange
from tests.engines.contract import SttContract, frames_of
from tests.engines.remote.audio_server import (
    KEY,
    Answer,
    AudioServer,
    Request,
    begin,
    one_by_one,
    refuses,
    says,
)
from tests.support.clips import clip
from tests.support.sounds import tone

SPEECH = tone(300, 1_000, 16_000)
SHORT = Patience(connect_s=0.5, first_s=0.05, next_s=0.05, models_s=0.5, warm_up_s=5)


@asynccontextmanager
async def at(
    url: str, options: str = "", patience: Patience | None = None
) -> AsyncIterator[OpenAIStt]:
    engine = OpenAIStt(f"{url}|tiny{options}", patience=patience)
    await asyncio.to_thread(engine.load)
    yield engine
    await engine.aclose()


@asynccontextmanager
async def against(
    answer: Answer, options: str = "", patience: Patience | None = None, **server: Any
) -> AsyncIterator[tuple[OpenAIStt, AudioServer]]:
    async with AudioServer(answer, **server) as there, at(there.url, options, patience) as engine:
        yield engine, there


class TestContract(SttContract):
    """Behind it is our own route with the fake recogniser, which names each sound."""

    @pytest.fixture
    async def engine(self, audio_routes: str) -> AsyncIterator[OpenAIStt]:
        async with at(audio_routes, "?streams=4") as engine:
            await asyncio.to_thread(engine.warm_up)
            yield engine


async def until(stream: Any, finals: int = 1) -> list[Event]:
    events: list[Event] = []
    async with asyncio.timeout(10):
        async for event in stream.events():
            events.append(event)
            if sum(isinstance(e, Final) for e in events) == finals:
                break
    return events


async def heard(
    engine: OpenAIStt, pcm: bytes = SPEECH, start: int = 0, **options: Any
) -> list[Event]:
    stream = engine.open("s", SttOptions(**options))
    for frame in frames_of(pcm, start):
        assert stream.offer(frame)
    stream.flush(1)
    events = await until(stream)
    await stream.aclose()
    return events


async def error_of(engine: OpenAIStt, **options: Any) -> EngineError:
    gone = (await heard(engine, **options))[-1]
    assert isinstance(gone, EngineGone), gone
    return gone.error


def texts(events: Sequence[Event]) -> list[str]:
    return [e.text for e in events if isinstance(e, Partial)]


# --- what is sent ---
async def test_the_request_is_the_one_that_the_official_client_sends() -> None:
    async with against(says("hello")) as (engine, server):
        await heard(engine, language="de-AT", hints=("Grüße", "turn on"))
        ours = server.requests[-1]
        async with AsyncOpenAI(base_url=server.url, api_key="none") as client:
            said = await client.audio.transcriptions.create(
                file=("speech.wav", ours.file, "audio/wav"), model="tiny", language="de",
                prompt="Grüße, turn on", temperature=0, response_format="json",
            )  # fmt: skip
            assert said.text == "hello"
            theirs = server.requests[-1]
            form = {name: value for name, value in ours.form.items() if name != "stream"}
            assert (ours.path, form, ours.file) == (theirs.path, theirs.form, theirs.file)
            assert (ours.file_name, ours.file_type) == (theirs.file_name, theirs.file_type)
            await heard(engine, word_times=True)
            ours = server.requests[-1]
            await client.audio.transcriptions.create(
                file=("speech.wav", ours.file, "audio/wav"), model="tiny", temperature=0,
                response_format="verbose_json", timestamp_granularities=["word"],
            )  # fmt: skip
            assert ours.form == server.requests[-1].form
    with wave.open(io.BytesIO(ours.file)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        assert file.readframes(file.getnframes()) == SPEECH


async def test_each_flush_sends_what_came_since_the_last_and_silence_is_not_sent() -> None:
    async with against(one_by_one(says("one"), says("two"))) as (engine, server):
        stream = engine.open("s", SttOptions())
        for number, pcm in enumerate((SPEECH, b"", bytes(20_000), SPEECH[:8_000])):
            for frame in frames_of(pcm):
                stream.offer(frame)
            stream.flush(number)
        finals = [e for e in await until(stream, 4) if isinstance(e, Final)]
        await stream.aclose()
        assert [(f.id, f.text) for f in finals] == [(0, "one"), (1, ""), (2, ""), (3, "two")]
        assert [len(r.file) - 44 for r in server.requests] == [len(SPEECH), 8_000]
        assert server.connections == 2  # one was for the list of models; the other was kept open


async def test_an_utterance_without_an_end_is_sent_in_pieces() -> None:
    async with against(one_by_one(says("first"), says("second"))) as (engine, server):
        loud = np.random.default_rng(1).normal(0, 3_000, 16 * (MAX_PIECE_MS + 5_000))
        loud[16 * 100_000 : 16 * 100_500] = 0
        pcm = loud.astype("<i2").tobytes()
        final = (await heard(engine, pcm, start=16_000))[-1]
        assert isinstance(final, Final)
        assert final.text == "first second"
        assert final.upto == 16_000 + len(pcm) // 2
        sizes = [(len(r.file) - 44) // 32 for r in server.requests]
        assert 100_000 <= sizes[0] <= 100_500
        assert sum(sizes) == MAX_PIECE_MS + 5_000


async def test_a_server_that_lags_behind_fills_the_stream_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("duologue.engines.remote.openai_stt.MAX_WAITING_BYTES", 4 * len(SPEECH))
    may_answer = asyncio.Event()

    async def slow(exchange: Exchange, request: Request) -> None:
        await may_answer.wait()
        await exchange.json(200, {"text": str(len(request.file) - 44)})

    async with against(slow) as (engine, _):
        stream = engine.open("s", SttOptions())
        frame = AudioFrame(SPEECH, 0)
        taken = 0
        while stream.offer(frame):
            taken += 1
            stream.flush(taken)
            await asyncio.sleep(0)
        assert taken == 5  # one is on its way
        may_answer.set()
        async with asyncio.timeout(10):
            await stream.room()
        assert stream.offer(frame)
        stream.flush(99)
        finals = [e for e in await until(stream, taken + 1) if isinstance(e, Final)]
        assert [f.text for f in finals] == [str(len(SPEECH))] * (taken + 1)
        await stream.aclose()


# --- what comes back ---
@pytest.mark.parametrize(
    "events",
    [
        [{"type": "transcript.text.delta", "delta": d} for d in ("Turn", " on", " it.")]
        + [{"type": "transcript.text.done", "text": "Turn on it."}],
        [{"object": "transcription.chunk", "choices": [{"delta": {"content": d}}]} for d in ("Turn", " on", " it.")]
        + [{"choices": [{"delta": {"content": ""}, "finish_reason": "stop"}]}, {"choices": []}],
        [{"text": d} for d in ("Turn", " on", " it.")],
    ],
)  # fmt: skip
async def test_a_streamed_answer_is_told_as_it_comes(events: list[Any]) -> None:
    async def stream(exchange: Exchange, request: Request) -> None:
        assert request.form["stream"] == ["true"]
        await exchange.begin()
        for event in events:
            await exchange.event(event)
        await exchange.event("[DONE]")
        await exchange.raw(b"0\r\n\r\n")

    async with against(stream) as (engine, _):
        got = await heard(engine)
        assert texts(got) == ["Turn", "Turn on", "Turn on it."]
        assert isinstance(got[-1], Final)
        assert got[-1].text == "Turn on it."


async def test_our_own_server_streams_to_it(audio_routes: str) -> None:
    async with at(audio_routes) as engine:
        events = await heard(engine, clip("commands-numbers.flac", 16_000))
        assert isinstance(events[-1], Final)
        assert texts(events)[-1] == events[-1].text != ""


async def test_words_lie_on_the_sessions_stream() -> None:
    words = [
        {"word": " hello", "start": 0.1, "end": 0.4},
        {"word": "there", "start": 0.5, "end": 0.9},
    ]
    odd = [{"word": "", "start": 0, "end": 0}, {"word": "x"}, "y", None]
    async with against(says("hello there", words=[*words, *odd])) as (engine, _):
        final = (await heard(engine, start=160_000, word_times=True))[-1]
        assert isinstance(final, Final)
        assert [(w.text, w.start_ms, w.end_ms) for w in final.words] == [
            ("hello", 10_100, 10_400), ("there", 10_500, 10_900),
        ]  # fmt: skip
        final = (await heard(engine))[-1]
        assert isinstance(final, Final)
        assert final.words == ()


async def test_plain_text_will_do() -> None:
    async def plain(exchange: Exchange, request: Request) -> None:
        await exchange.whole(200, " Hello.\n", "text/plain; charset=utf-8")

    async with against(plain) as (engine, _):
        final = (await heard(engine))[-1]
        assert isinstance(final, Final)
        assert final.text == "Hello."


async def test_what_a_server_does_not_take_is_left_out_and_remembered() -> None:
    async def picky(exchange: Exchange, request: Request) -> None:
        if "stream" in request.form:
            await exchange.refuse(400, "Unknown parameter: 'stream'.")
        elif request.form["response_format"] == ["verbose_json"]:
            await exchange.refuse(
                400, "response_format 'verbose_json' is not compatible with model"
            )
        else:
            await exchange.json(200, {"text": "hello"})

    async with against(picky) as (engine, server):
        for word_times, requests in ((False, 3), (True, 1), (True, 1), (False, 1)):
            before = len(server.requests)
            final = (await heard(engine, word_times=word_times))[-1]
            assert isinstance(final, Final)
            assert final.text == "hello"
            assert len(server.requests) - before == requests


async def test_translation_is_a_route_of_its_own_that_must_be_known_of() -> None:
    async with against(says("good morning"), "?translate=true") as (engine, server):
        assert engine.capabilities.translates
        final = (await heard(engine, task="translate", language="de"))[-1]
        assert isinstance(final, Final)
        assert final.text == "good morning"
        assert server.requests[-1].path == "/v1/audio/translations"
        assert "language" not in server.requests[-1].form
    async with against(says("")) as (engine, _):
        assert not engine.capabilities.translates
        assert (await error_of(engine, task="translate")).code == "stt_translation_not_supported"


# --- what goes wrong ---
@pytest.mark.parametrize(
    ("status", "message", "code", "kind"),
    [
        (401, f"Incorrect API key provided: {KEY}", "stt_unauthorised", EngineRefused),
        (403, "Not for you", "stt_unauthorised", EngineRefused),
        (404, "The model `tiny` does not exist", "stt_model_unknown", EngineRefused),
        (404, "Not Found", "stt_url_wrong", EngineRefused),
        (429, "Slow down", "stt_rate_limited", AtCapacity),
        (400, "Audio file might be corrupted", "stt_refused", EngineRefused),
        (400, "Unknown model tiny", "stt_model_unknown", EngineRefused),
        (500, "Out of memory", "stt_failed", EngineLost),
        (503, "Loading model", "stt_failed", EngineLost),
    ],
)
async def test_a_refusal_says_who_and_why_and_not_the_key(
    status: int, message: str, code: str, kind: type[EngineError]
) -> None:
    async with AudioServer(refuses(status, message, Retry_After="7"), api_key=KEY) as server:
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
        assert ("wait for 7 s" in str(error)) is (status == 429)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [("no json", "stt_bad_answer"), ("[]", "stt_bad_answer"), ('{"text": 3}', "stt_bad_answer")],
)
async def test_an_answer_that_is_none(body: str, code: str) -> None:
    async def odd(exchange: Exchange, request: Request) -> None:
        await exchange.whole(200, body, "application/json")

    async with against(odd) as (engine, _):
        assert (await error_of(engine)).code == code


async def test_an_error_in_the_middle_of_a_stream() -> None:
    async def failing(exchange: Exchange, request: Request) -> None:
        await exchange.begin()
        await exchange.event({"type": "transcript.text.delta", "delta": "Well"})
        await exchange.event({"error": {"message": "CUDA out of memory"}})
        await exchange.raw(b"0\r\n\r\n")

    async def dying(exchange: Exchange, request: Request) -> None:
        await exchange.begin()
        await exchange.event({"type": "transcript.text.delta", "delta": "Well"})
        exchange.reset()

    async with against(one_by_one(failing, dying)) as (engine, _):
        error = await error_of(engine)
        assert (error.code, type(error)) == ("stt_failed", EngineLost)
        assert "CUDA out of memory" in error.message
        assert (await error_of(engine)).code == "stt_broke_off"


async def test_too_long_an_answer_is_not_read_to_its_end() -> None:
    async def endless(exchange: Exchange, request: Request) -> None:
        await begin(exchange, "application/json")
        while True:
            await exchange.raw(b" " * 65_536)

    async with against(endless) as (engine, server):
        assert (await error_of(engine)).code == "stt_bad_answer"
        async with asyncio.timeout(10):
            await server.gone.wait()


async def test_who_does_not_answer_is_not_waited_for() -> None:
    async def mute(exchange: Exchange, request: Request) -> None:
        await exchange.gone()

    async def stuck(exchange: Exchange, request: Request) -> None:
        await exchange.begin()
        await exchange.gone()

    async with against(one_by_one(mute, stuck), patience=SHORT) as (engine, _):
        for _ in range(2):
            error = await error_of(engine)
            assert (error.code, type(error)) == ("stt_timed_out", EngineLost)


async def test_nobody_there() -> None:
    async with AudioServer(says("")) as server:
        url = server.url
    with pytest.raises(EngineLost) as lost:
        async with at(url):
            pass
    assert lost.value.code == "stt_unreachable"
    assert lost.value.remedy


async def test_a_connection_that_was_closed_meanwhile_costs_nothing() -> None:
    async with against(says("hello"), hang_up=True) as (engine, server):
        for _ in range(3):
            final = (await heard(engine))[-1]
            assert isinstance(final, Final)
        assert len(server.requests) == 3


async def test_a_kept_connection_that_breaks_under_a_request_is_replaced_once() -> None:
    async def reset(exchange: Exchange, request: Request) -> None:
        exchange.reset()

    async with against(one_by_one(says("one"), reset, says("two"), reset)) as (engine, server):
        for text in ("one", "two"):
            final = (await heard(engine))[-1]
            assert isinstance(final, Final)
            assert final.text == text
        assert len(server.requests) == 3
        assert (await error_of(engine)).code == "stt_unreachable"
        assert len(server.requests) == 5


async def test_cancelling_hangs_up() -> None:
    took_ms = []
    asked, gone = asyncio.Event(), asyncio.Event()

    async def mute(exchange: Exchange, request: Request) -> None:
        asked.set()
        await exchange.gone()
        gone.set()

    async with against(mute) as (engine, _):
        for _ in range(5):
            stream = engine.open("s", SttOptions())
            stream.offer(AudioFrame(SPEECH, 0))
            stream.flush(1)
            async with asyncio.timeout(10):
                await asked.wait()
            asked.clear()
            gone.clear()
            began = time.perf_counter()
            await stream.aclose(cancel=True)
            async with asyncio.timeout(10):
                await gone.wait()
            took_ms.append((time.perf_counter() - began) * 1000)
    assert min(took_ms) < 50, took_ms


# --- at start ---
async def test_the_wrong_key_shows_at_start_and_only_the_right_server_is_told_one() -> None:
    async with AudioServer(says("hello"), api_key=KEY) as server:
        for known in ({}, {"api.openai.com": KEY}):
            keys.provide(known)
            with pytest.raises(EngineRefused) as refused:
                async with at(server.url):
                    pass
            assert refused.value.code == "stt_unauthorised"
            assert KEY not in str(refused.value)
        keys.provide({})


@pytest.mark.parametrize(
    ("listed", "model"),
    [
        (("llama", "whisper-small"), "whisper-small"),
        (("mystery",), "whisper-1"),
        (None, "whisper-1"),
    ],
)
async def test_a_model_that_is_not_named_is_found(listed: Any, model: str) -> None:
    async with AudioServer(says("hello"), models=listed) as server:
        engine = OpenAIStt(server.url)
        await asyncio.to_thread(engine.load)
        await heard(engine)
        await engine.aclose()
        assert server.requests[-1].form["model"] == [model]


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("nonsense|tiny", "stt_url_invalid"),
        ("http://|tiny", "stt_url_invalid"),
        ("http://box|tiny?voice=x", "remote_option_unknown"),
        ("http://box|tiny?streams=0", "remote_option_invalid"),
        ("http://box|tiny?stream=maybe", "remote_option_invalid"),
    ],
)
def test_an_argument_that_is_wrong_says_so(argument: str, code: str) -> None:
    with pytest.raises((EngineError, SetupError)) as wrong:
        OpenAIStt(argument)
    assert wrong.value.code == code


def test_without_an_address_it_is_the_hosted_one() -> None:
    assert OpenAIStt("|gpt-4o-transcribe").http.place.url == "https://api.openai.com/v1"


def test_hints_fill_a_prompt_up_to_its_bound() -> None:
    assert prompt_of(()) == prompt_of(("", " ")) == ""
    assert prompt_of(("a  b", "", "c")) == "a b, c"
    assert prompt_of(("a", "b" * 700, "c")) == "a"


# --- which language it was ---
@pytest.mark.parametrize(
    ("told", "language"), [("chinese", "zh"), ("ZH", "zh"), ("en-US", "en"), (None, ""), ("?", "")]
)
async def test_a_server_that_says_which_language_it_was_is_believed(
    told: str | None, language: str
) -> None:
    async with against(says("你好", language=told), "?stream=false") as (engine, server):
        final = (await heard(engine))[-1]
        assert isinstance(final, Final)
        assert (final.text, final.language) == ("你好", language.lower())
        form = server.requests[-1].form
        assert form["response_format"] == ["verbose_json"]
        assert "language" not in form


async def test_a_language_that_was_told_is_sent_and_not_reported() -> None:
    async with against(says("你好", language="chinese"), "?stream=false") as (engine, server):
        final = (await heard(engine, language="zh-CN"))[-1]
        assert isinstance(final, Final)
        assert (final.text, final.language) == ("你好", "")
        assert server.requests[-1].form["language"] == ["zh"]
        assert server.requests[-1].form["response_format"] == ["json"]


async def test_a_server_without_verbose_json_is_asked_no_more_for_it() -> None:
    answer = one_by_one(refuses(400, "response_format verbose_json is not supported"), says("hi"))
    async with against(answer, "?stream=false") as (engine, server):
        assert [(await heard(engine))[-1] for _ in range(2)] == [Final(1, 16_000, "hi")] * 2
        assert [r.form["response_format"][0] for r in server.requests] == [
            "verbose_json",
            "json",
            "json",
        ]


async def test_pieces_of_chinese_are_joined_without_spaces_and_each_utterance_has_its_own_language() -> (
    None
):
    answers = one_by_one(
        says("你好。", language="chinese"), says("世界", language="english"), says("hi")
    )
    async with against(answers, "?stream=false") as (engine, _):
        stream = engine.open("s", SttOptions())
        half = AudioFrame(SPEECH * (MAX_PIECE_MS // 1_000 + 1), 0)
        stream.offer(half)
        stream.flush(1)
        stream.offer(AudioFrame(SPEECH, half.end))
        stream.flush(2)
        finals = [e for e in await until(stream, 2) if isinstance(e, Final)]
        await stream.aclose()
        assert [(f.text, f.language) for f in finals] == [("你好。世界", "zh"), ("hi", "")]
