"""The embedded engines and a language model's server, through real sockets: nothing here is a fake engine."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from tests.engines.chat.chat_server import ChatServer, Exchange, refuses
from tests.support.client import Phone, phone
from tests.support.clips import clip, manifest, silence
from tests.support.server import RunningServer, server

pytestmark = pytest.mark.timeout(150)

SPOKEN = [
    "commands-cards_003.flac",
    "commands-something.flac",
    "commands-cards_002.flac",
    "libri_other-367-130732-0000.flac",
    "lj-LJ001-0008.flac",
]
HINTS = "queen of clubs, seven of clubs, ace of hearts, ten of diamonds, king of spades"


@pytest.fixture(scope="module")
def embedded_server() -> Iterator[RunningServer]:
    with server() as running:
        yield running


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def transcript_of(name: str) -> list[str]:
    return words(next(entry["transcript"] for entry in manifest() if entry["file"] == name))


def found(said: list[str], heard: str) -> int:
    """Words of what was said that were understood, wherever."""
    return sum(word in words(heard) for word in said)


def is_speech(pcm: bytes) -> bool:
    """At least half a second, as loud as speech, and no steady tone."""
    sound = np.frombuffer(pcm, "<i2").astype(np.float64)
    levels = np.abs(sound[: len(sound) // 480 * 480]).reshape(-1, 480).mean(axis=1)
    return len(sound) > 12_000 and levels.max() > 1_000 and levels.std() > 0.3 * levels.mean()


async def type_in(held: Phone, text: str) -> None:
    await held.connection.conversation.item.create(
        item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    )
    await held.connection.response.create()


def test_it_is_ready_within_five_seconds_and_says_what_it_is(
    embedded_server: RunningServer,
) -> None:
    said = embedded_server.output
    ready = re.search(r"is ready after ([\d.]+) s", said)
    assert ready is not None
    assert float(ready[1]) <= 5
    assert "command grade" in said
    assert "no language model" in said
    assert "whisper" in said


async def test_ten_turns_of_real_speech_the_tenth_is_heard_like_the_first(
    embedded_server: RunningServer,
) -> None:
    transcription = {"model": "any", "prompt": HINTS}
    audio = {"input": {"transcription": transcription}, "output": {"speed": 1.5}}
    async with phone(embedded_server, audio=audio) as held:
        for number in range(10):
            await held.say(clip(SPOKEN[number % 5]) + silence(700))
            answer = await held.until("response.done", number + 1)
            assert answer["response"]["status"] == "completed"
            await held.say(silence(300))
        heard = held.heard()
        assert len(heard) == 10
        right = [found(transcript_of(SPOKEN[n % 5]), text) for n, text in enumerate(heard)]
        # The first three are commands, of 12 words; read sentences are beyond this recogniser.
        assert sum(right[:3]) >= 9
        assert sum(right[5:8]) >= sum(right[:3]) - 1
        for text in (heard[0], heard[5]):  # a breath behind it may be taken for a word
            assert "seven of clubs" in " ".join(words(text))
        for text, said in zip(heard, held.answers(), strict=True):
            assert text.split()[0] in said
        assert all(is_speech(pcm) for pcm in held.sound.values())
        assert len(held.sound) == 10


async def test_a_timer_speaks_when_it_is_due(embedded_server: RunningServer) -> None:
    async with phone(embedded_server) as held:
        await type_in(held, "set a timer for two seconds")
        await held.until("response.done", 1)
        await held.until("response.done", 2)  # nobody asked for this one
        start, due = held.answers()
        assert start.startswith("Two seconds")
        assert "timer" in due
        assert len(held.sound) == 2
        assert all(is_speech(pcm) for pcm in held.sound.values())


async def test_the_voice_can_be_interrupted_and_only_what_was_heard_stays(
    embedded_server: RunningServer,
) -> None:
    async with phone(embedded_server) as held:
        await type_in(
            held, "repeat after me " + "one two three four five six seven eight nine " * 3
        )
        await held.until("response.output_audio.delta", 60)
        await held.say(clip("commands-something.flac"))
        done = (await held.until("response.done"))["response"]
        assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "turn_detected")
        told = held.of("response.output_audio_transcript.done")[0]["transcript"]
        kept = done["output"][0]["content"][0]["transcript"]
        assert told.startswith(kept)
        assert 0 < len(kept) < len(told)


async def _answer(exchange: Exchange) -> None:
    """A language model that has something to say, and says it slowly."""
    asked = exchange.request.body["messages"][-1]["content"]
    await exchange.begin()
    for word in f"You asked: {asked} I will say it once. And here is one sentence more.".split():
        await exchange.say(word + " ")
        await asyncio.sleep(0)
    await exchange.end()


@asynccontextmanager
async def with_a_model() -> AsyncIterator[tuple[RunningServer, ChatServer]]:
    """A server that has its answers from a language model's server, on the engines that it comes with."""
    async with ChatServer(_answer) as chat:
        starting = server(DUOLOGUE_LLM_URL=chat.url, DUOLOGUE_LLM_MODEL="tiny")
        running = await asyncio.to_thread(starting.__enter__)  # it asks for the models meanwhile
        try:
            yield running, chat
        finally:
            await asyncio.to_thread(starting.__exit__, None, None, None)


async def test_a_language_model_behind_a_url_answers_aloud() -> None:
    async with with_a_model() as (running, chat), phone(running, instructions="Be brief.") as held:
        await held.say(clip("commands-cards_003.flac") + silence(700))
        await held.until("response.done")
        body = chat.requests[-1].body
        assert body["messages"][0]["content"].startswith("Be brief.")
        assert held.answers()[0].startswith("You asked: ")
        assert "one sentence more." in held.answers()[0]
        assert is_speech(next(iter(held.sound.values())))


async def test_a_language_model_that_fails_is_named_and_the_line_lives_on() -> None:
    async with with_a_model() as (running, chat), phone(running) as held:
        chat.answer = refuses(503, "overloaded")
        await type_in(held, "hello")
        done = (await held.until("response.done"))["response"]
        assert done["status"] == "failed"
        error = done["status_details"]["error"]
        assert error["code"].startswith("llm_")
        chat.answer = _answer
        await type_in(held, "and now")
        done = (await held.until("response.done", 2))["response"]
        assert done["status"] == "completed"
        assert "and now" in held.answers()[-1]
