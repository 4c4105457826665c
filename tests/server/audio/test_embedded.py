"""The audio routes with the embedded engines, in their processes: what is spoken is understood again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import numpy as np
import pytest
from openai import BadRequestError

from duologue.engines.pocketsphinx.engine import SPEC as POCKETSPHINX
from duologue.engines.pool_subprocess import SubprocessPool
from duologue.engines.voices.espeak import SPEC as ESPEAK
from tests.server.audio.stage import RATE, Service, encoded, samples, service, talk
from tests.support.clips import DATA

DIGITS = DATA / "commands-vosk_digits.flac"


@asynccontextmanager
async def embedded() -> AsyncIterator[Service]:
    async with AsyncExitStack() as stack:
        pools = [SubprocessPool(spec, processes=1) for spec in (POCKETSPHINX, ESPEAK)]
        for pool in pools:
            await stack.enter_async_context(pool)
            await pool.start()
        yield await stack.enter_async_context(service(*pools))


async def test_what_is_said_is_understood_in_every_format_and_at_its_time() -> None:
    async with embedded() as served:
        create = served.client.audio.transcriptions.create
        plain = await create(model="whisper-1", file=DIGITS)
        words = plain.text.split()
        said = "one zero zero zero one nine oh two one oh zero one eight zero three".split()
        assert sum(word in words for word in said) >= 12
        verbose = await create(
            model="whisper-1",
            file=DIGITS,
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
        )
        assert verbose.language == "english"
        assert verbose.words is not None
        assert verbose.segments is not None
        assert [word.word for word in verbose.words] == verbose.text.split()
        pauses = [b.start - a.end for a, b in pairwise(verbose.words)]
        assert sorted(pauses)[-2] > 0.8  # the speaker pauses twice
        assert verbose.words[-1].end < 8.3
        assert len(verbose.segments) == 3
        captions = await create(model="whisper-1", file=DIGITS, response_format="vtt")
        assert captions.startswith("WEBVTT\n\n00:00:00.")
        assert captions.count("-->") == 3
        with pytest.raises(BadRequestError) as refused:
            await create(model="whisper-1", file=DIGITS, language="de")
        assert (refused.value.code, refused.value.param) == (
            "stt_language_not_supported",
            "language",
        )
        with (
            pytest.warns(DeprecationWarning, match="deprecated"),
            pytest.raises(BadRequestError) as cannot,
        ):
            await served.client.audio.translations.create(model="whisper-1", file=DIGITS)
        assert cannot.value.code == "translation_not_supported"
        await served.all_streams_closed()


async def test_what_is_spoken_is_speech_at_the_speed_asked_for() -> None:
    async with embedded() as served:
        lengths = {}
        for speed in (0.5, 1.0, 2.0):
            answer = await served.client.audio.speech.create(
                model="tts-1",
                voice="alloy",
                input="Set a timer for five minutes. What time is it?",
                response_format="wav",
                speed=speed,
            )
            sound = samples(answer.content, "wav")
            lengths[speed] = len(sound) / RATE
            assert np.abs(sound).max() > 3_000
        assert lengths[0.5] > 1.6 * lengths[1.0] > 2.5 * lengths[2.0]
        spoken = await served.client.audio.speech.create(
            model="tts-1", voice="alloy", input="Set a timer for five minutes."
        )
        heard = await served.client.audio.transcriptions.create(
            model="whisper-1", file=("speech.mp3", spoken.content)
        )
        assert "timer" in heard.text
        await served.all_streams_closed()


async def test_a_long_recording_is_read_while_others_are_served() -> None:
    """Nothing of it runs on the event loop for longer than a person would notice in a conversation."""
    async with embedded() as served:
        data = encoded(talk(90), 16_000, "mp3", "libmp3lame")
        lags: list[float] = []

        async def watch() -> None:
            loop = asyncio.get_running_loop()
            while True:
                before = loop.time()
                await asyncio.sleep(0.005)
                lags.append(loop.time() - before - 0.005)

        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch())
            answer = await served.client.audio.transcriptions.create(
                model="whisper-1", file=("talk.mp3", data), response_format="verbose_json"
            )
            watching.cancel()
        assert answer.duration == pytest.approx(90, abs=0.2)
        assert answer.segments is not None
        assert len(answer.segments) > 15
        assert all(a.start < b.start for a, b in pairwise(answer.segments))
        assert sorted(lags)[len(lags) * 9 // 10] < 0.02
        await served.all_streams_closed()
