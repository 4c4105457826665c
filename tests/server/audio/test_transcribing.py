"""Transcriptions and translations, asked for with the stock `openai` client."""

import asyncio
import io
import re
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
from openai import APIError, AsyncStream, BadRequestError, InternalServerError, RateLimitError
from openai.types.audio import (
    Transcription,
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
    TranscriptionVerbose,
)

from duologue.core.capabilities import Capabilities, Role
from duologue.ports import SttOptions
from duologue.server.audio.transcribing import PACK_MS
from tests.server.audio.stage import Service, encoded, service, talk
from tests.support.clips import DATA

DIGITS = DATA / "commands-vosk_digits.flac"
SECONDS = 8.308
HEARD = re.compile(r"(in English )?\w+ \w+ \w+ \d+ ms")
"""What the fake recogniser makes of a stretch."""

PLAIN = Capabilities()


@pytest.fixture
async def served() -> AsyncIterator[Service]:
    async with service() as running:
        yield running
        await running.all_streams_closed()


def file(data: bytes | None = None) -> tuple[str, bytes]:
    return ("speech.flac", DIGITS.read_bytes() if data is None else data)


async def transcribe(served: Service, **how: Any) -> Any:
    how = {"model": "whisper-1", "file": file(), **how}
    return await served.client.audio.transcriptions.create(**how)


async def refused(served: Service, **how: Any) -> dict[str, Any]:
    with pytest.raises(BadRequestError) as found:
        await transcribe(served, **how)
    body: Any = found.value.body
    assert set(body) == {"message", "type", "param", "code"}
    assert body["type"] == "invalid_request_error"
    return dict(body)


def stt_options(served: Service) -> SttOptions:
    role, options = served.pools.opened[-1]
    assert role is Role.STT
    assert isinstance(options, SttOptions)
    return options


# --- formats ---
async def test_json_has_the_text_and_what_it_cost(served: Service) -> None:
    answer = await transcribe(served)
    assert isinstance(answer, Transcription)
    assert len(HEARD.findall(answer.text)) == 3
    assert answer.usage is not None
    assert answer.usage.to_dict() == {"type": "duration", "seconds": SECONDS}
    assert not stt_options(served).word_times


async def test_the_same_file_says_the_same_in_every_format(served: Service) -> None:
    text = (await transcribe(served)).text
    assert await transcribe(served, response_format="text") == f"{text}\n"
    verbose = await transcribe(served, response_format="verbose_json")
    assert verbose.text == text
    for fmt in ("srt", "vtt"):
        lines = (await transcribe(served, response_format=fmt)).splitlines()
        assert " ".join(line for line in lines if HEARD.fullmatch(line)) == text
        assert sum("-->" in line for line in lines) == 3


async def test_verbose_json_has_the_times_of_segments_and_words(served: Service) -> None:
    answer = await transcribe(
        served, response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert isinstance(answer, TranscriptionVerbose)
    TranscriptionVerbose.model_validate(answer.to_dict(), strict=True)
    assert (answer.duration, answer.language) == (SECONDS, "unknown")
    assert answer.segments
    assert answer.words
    begins = [segment.start for segment in answer.segments]
    assert begins == pytest.approx([0.9, 3.97, 6.27], abs=0.4)
    assert [word.word for word in answer.words] == answer.text.split()
    assert all(a.end <= b.start for a, b in pairwise(answer.words))
    assert all(a.end <= b.start for a, b in pairwise(answer.segments))
    assert all(0 <= s.no_speech_prob < 0.3 for s in answer.segments)
    assert answer.segments[-1].end <= SECONDS


async def test_only_what_was_asked_for_is_told(served: Service) -> None:
    for asked, has_words, has_segments in (
        (["word"], True, False),
        (["segment"], False, True),
        ([], False, True),
    ):
        answer = await transcribe(
            served, response_format="verbose_json", timestamp_granularities=asked
        )
        assert (answer.words is not None, answer.segments is not None) == (has_words, has_segments)


async def test_how_sure_the_recogniser_is(served: Service) -> None:
    answer = await transcribe(served, include=["logprobs"])
    assert [each.token for each in answer.logprobs] == answer.text.split()
    assert {each.logprob for each in answer.logprobs} == {-0.1}
    assert (await transcribe(served)).logprobs is None


async def test_a_recogniser_that_knows_no_times_of_words_still_makes_captions() -> None:
    async with service(recognisers=[PLAIN]) as served:
        answer = await transcribe(served, response_format="srt")
        assert answer.count("-->") == 3
        error = await refused(
            served, response_format="verbose_json", timestamp_granularities=["word"]
        )
        assert (error["code"], error["param"]) == (
            "word_times_not_supported",
            "timestamp_granularities",
        )


# --- events ---
async def events(served: Service, **how: Any) -> list[Any]:
    stream: AsyncStream[Any] = await transcribe(served, stream=True, **how)
    return [event async for event in stream]


async def test_a_stream_tells_the_text_as_it_is_heard(served: Service) -> None:
    *deltas, done = await events(served, include=["logprobs"])
    assert len(deltas) == 3
    for delta in deltas:
        TranscriptionTextDeltaEvent.model_validate(delta.to_dict())
        assert [each.token for each in delta.logprobs] == delta.delta.split()
    TranscriptionTextDoneEvent.model_validate(done.to_dict())
    assert "".join(delta.delta for delta in deltas) == done.text
    assert done.text == (await transcribe(served)).text


async def test_the_first_words_come_before_the_last_are_heard() -> None:
    async with service(stt="stt_ms=300") as served:
        loop = asyncio.get_running_loop()
        began = loop.time()
        stream = await transcribe(served, stream=True)
        times = [loop.time() - began async for _ in stream]
        assert 0.3 <= times[0] < times[-1] - 0.5


async def test_silence_streams_an_empty_text(served: Service) -> None:
    (done,) = await events(served, file=file(encoded(bytes(32_000), 16_000)))
    assert (done.type, done.text) == ("transcript.text.done", "")


async def test_a_stream_that_breaks_off_says_why() -> None:
    async with service(stt="stt_ms=50") as served:
        seen: list[Any] = []
        stream = await transcribe(served, stream=True)
        engine: Any = served.stt.engine

        async def read() -> None:
            async for event in stream:
                seen.append(event)
                engine.fails = lambda: True

        with pytest.raises(APIError, match="told to break") as broken:
            await read()
        assert len(seen) == 1
        assert broken.value.code == "fake_stt_lost"
        await served.all_streams_closed()


# --- what the engine is told ---
async def test_prompt_keywords_and_language_reach_the_recogniser(served: Service) -> None:
    await transcribe(
        served,
        model="anything-at-all",
        language="German",
        prompt="Duologue, oat milk; espresso",
        temperature=0.2,
        chunking_strategy="auto",
        extra_body={"keywords": ["flat white"]},
    )
    options = stt_options(served)
    assert options.language == "de"
    assert options.hints == ("Duologue", "oat milk", "espresso", "flat white")
    assert options.task == "transcribe"
    answer = await transcribe(
        served,
        response_format="verbose_json",
        language="de",
        chunking_strategy={"type": "server_vad", "threshold": 0.3},
    )
    assert answer.language == "german"


async def test_a_recogniser_of_one_language_is_known_to_speak_it() -> None:
    async with service(recognisers=[Capabilities(languages=("en",))]) as served:
        assert (await transcribe(served, response_format="verbose_json")).language == "english"


async def test_speech_is_packed_for_a_recogniser_that_takes_the_same_for_any_length() -> None:
    data = encoded(talk(40), 16_000)
    counts = []
    for streaming in (True, False):
        async with service(recognisers=[Capabilities(streaming=streaming)]) as served:
            text = (await transcribe(served, file=file(data))).text
            counts.append([int(ms) for ms in re.findall(r"(\d+) ms", text)])
    alone, packed = counts
    assert len(alone) > 2 * len(packed)
    assert all(ms > PACK_MS for ms in packed[:-1])


# --- translations ---
async def test_a_translation_where_the_engine_can(served: Service) -> None:
    with pytest.warns(DeprecationWarning, match="deprecated"):
        answer = await served.client.audio.translations.create(model="whisper-1", file=file())
    assert answer.text.startswith("in English ")
    assert stt_options(served).task == "translate"
    with pytest.warns(DeprecationWarning, match="deprecated"):
        verbose = await served.client.audio.translations.create(
            model="whisper-1", file=file(), response_format="verbose_json"
        )
    assert verbose.language == "english"


async def test_a_translation_where_it_cannot() -> None:
    async with service(recognisers=[PLAIN]) as served:
        with (
            pytest.warns(DeprecationWarning, match="deprecated"),
            pytest.raises(BadRequestError) as found,
        ):
            await served.client.audio.translations.create(model="whisper-1", file=file())
        assert found.value.code == "translation_not_supported"
        assert "whisper" in found.value.message
        assert served.pools.opened == []


# --- errors ---
@pytest.mark.parametrize(
    ("how", "code", "param"),
    [
        ({"response_format": "diarized_json"}, "unsupported_value", "response_format"),
        ({"response_format": "docx"}, "invalid_value", "response_format"),
        ({"response_format": "srt", "stream": True}, "unsupported_value", "response_format"),
        ({"temperature": 1.5}, "invalid_value", "temperature"),
        ({"temperature": "warm"}, "invalid_value", "temperature"),
        ({"language": "klingon"}, "invalid_language_format", "language"),
        ({"timestamp_granularities": ["word"]}, "unsupported_value", "timestamp_granularities"),
        ({"include": ["tokens"]}, "invalid_value", "include"),
        (
            {"include": ["logprobs"], "response_format": "text"},
            "unsupported_value",
            "include",
        ),
        ({"extra_body": {"stream": "perhaps"}}, "invalid_value", "stream"),
        ({"model": ""}, "missing_required_parameter", "model"),
        ({"file": ("a.wav", b"")}, "file_empty", "file"),
        ({"file": ("a.wav", b"no sound at all")}, "audio_not_readable", "file"),
        ({"file": ("a.wav", encoded(bytes(200), 16_000))}, "audio_too_short", "file"),
    ],
)
async def test_what_is_wrong_is_said(
    served: Service, how: dict[str, Any], code: str, param: str
) -> None:
    error = await refused(served, **how)
    assert (error["code"], error["param"]) == (code, param)
    assert served.pools.opened == []


async def test_a_recogniser_that_fails_is_a_servers_error() -> None:
    async with service(stt="fail=1") as served:
        with pytest.raises(InternalServerError) as found:
            await transcribe(served)
        assert found.value.code == "fake_stt_lost"
        await served.all_streams_closed()


async def test_too_many_files_at_a_time_are_told_when_to_come_again() -> None:
    async with service(stt="stt_ms=100000", max_files=1) as served:
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(transcribe(served))
            async with asyncio.timeout(10):
                while not served.pools.opened:  # noqa: ASYNC110 - the pool tells nobody
                    await asyncio.sleep(0.01)
            with pytest.raises(RateLimitError) as full:
                await transcribe(served)
            assert full.value.code == "rate_limit_exceeded"
            assert int(full.value.response.headers["retry-after"]) >= 1
            first.cancel()
        await served.all_streams_closed()
        async with asyncio.timeout(10):
            await _until_accepted(served)


async def _until_accepted(served: Service) -> None:
    """Its place is free again: a wrong file is looked at."""
    while True:
        try:
            await transcribe(served, file=("a.wav", b"no sound at all"))
        except RateLimitError:
            await asyncio.sleep(0.02)
        except BadRequestError:
            return


async def test_a_full_engine_is_told_with_a_time() -> None:
    async with service(stt="stt_ms=100000") as served:
        served.stt.engine.capabilities = Capabilities(max_streams=0)
        with pytest.raises(RateLimitError) as full:
            await transcribe(served)
        assert full.value.code == "stt_at_capacity"
        assert full.value.response.headers["retry-after"] == "2"


async def test_a_server_that_is_not_ready_says_so() -> None:
    async with service(is_ready=False) as served:
        with pytest.raises(InternalServerError) as early:
            await transcribe(served)
        assert (early.value.status_code, early.value.code) == (503, "not_ready")
        assert "retry-after" in early.value.response.headers


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_hangs_up_stops_the_recogniser(stream: bool) -> None:
    async with service(stt="stt_ms=100000") as served:
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(transcribe(served, stream=stream))
            async with asyncio.timeout(10):
                while not served.stt.streams:  # noqa: ASYNC110 - the pool tells nobody
                    await asyncio.sleep(0.01)
            asking.cancel()
        await served.all_streams_closed()


async def test_the_file_is_forgotten_with_the_answer(
    served: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from duologue.server.audio.upload import Upload

    closed: list[io.IOBase] = []
    real = Upload.close

    async def close(self: Upload) -> None:
        await real(self)
        closed.append(self.file)  # type: ignore[arg-type]

    monkeypatch.setattr(Upload, "close", close)
    await transcribe(served)
    await refused(served, response_format="docx")
    await refused(served, file=("a.wav", b"no sound at all"))
    async with asyncio.timeout(10):
        while len(closed) < 3:  # noqa: ASYNC110 - a moment after the client has its answer
            await asyncio.sleep(0.01)
    assert all(each.closed for each in closed)


async def test_what_is_not_ours_is_answered_with_a_pointer(served: Service) -> None:
    async with httpx.AsyncClient(base_url=served.url) as client:
        for path in ("/v1/chat/completions", "/v1/responses", "/v1/responses/resp_1/cancel"):
            answer = await client.post(path, json={})
            assert answer.status_code == 404
            error = answer.json()["error"]
            assert error["code"] == "not_served_here"
            assert "--llm-url" in error["message"]
        assert (await client.get("/v1/embeddings")).json()["error"]["code"] == "unknown_url"
