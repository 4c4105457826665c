"""Real speech through real sockets by the stock `openai` client: what the product is for."""

import asyncio
import base64
from typing import Any

import numpy as np
import pytest

from duologue.engines.fakes import tone_hz
from tests.support.client import Phone, phone
from tests.support.clips import clip, silence
from tests.support.server import RunningServer

pytestmark = pytest.mark.timeout(150)

SPOKEN = [
    "commands-cards_002.flac",
    "commands-cards_003.flac",
    "commands-something.flac",
    "lj-LJ001-0008.flac",
    "libri_other-367-130732-0000.flac",
]


def pitch_hz(pcm: bytes) -> float:
    sound = np.frombuffer(pcm, np.int16).astype(np.float64)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(np.argmax(spectrum)) * 24_000 / len(sound)


def assert_own_answers(held: Phone) -> None:
    """Each answer echoes what this very session said, in the tone that belongs to it."""
    for number, (heard, answer) in enumerate(zip(held.heard(), held.answers(), strict=True)):
        assert " ".join(heard.split()[:3]) in answer
        item_id = held.of("response.output_audio_transcript.done")[number]["item_id"]
        assert abs(pitch_hz(held.sound[item_id]) - tone_hz(answer)) < 10


def first_sound_after(held: Phone, turn: int) -> float:
    """Seconds from the end of the turn to the first sound of its answer."""
    stopped = held.of("input_audio_buffer.speech_stopped")[turn]
    answer = held.of("response.done")[turn]["response"]["id"]
    ended = next(at for at, event in held.events if event is stopped)
    return next(
        at - ended
        for at, event in held.events
        if event["type"] == "response.output_audio.delta" and event["response_id"] == answer
    )


async def test_ten_turns_the_tenth_is_heard_like_the_first(fake_server: RunningServer) -> None:
    async with phone(fake_server) as held:
        for number in range(10):
            await held.say(clip(SPOKEN[number % 5]) + silence(700))
            await held.until("response.done", number + 1)
            await held.say(silence(600))
        assert len(held.heard()) == 10
        assert {r["response"]["status"] for r in held.of("response.done")} == {"completed"}
        assert [len(pcm) for pcm in held.sound.values()] == [24_000] * 10
        assert_own_answers(held)
        waits = [first_sound_after(held, n) for n in range(10)]
        assert max(waits) < 0.5


async def test_twenty_sessions_at_once_each_hear_only_their_own_answers(
    fake_server: RunningServer,
) -> None:
    async def converse(number: int) -> list[str]:
        async with phone(fake_server) as held:
            for turn in range(3):
                # the same clips in all sessions, but shifted and at another level: other sounds
                pcm = np.frombuffer(clip(SPOKEN[(number + turn) % 5]), np.int16) * (1 - number / 40)
                sound = silence(20 * number) + pcm.astype("<i2").tobytes() + silence(800)
                await held.say(sound)
                await held.until("response.done", turn + 1)
                await held.say(silence(500))
            assert len(held.heard()) == 3
            assert_own_answers(held)
            return held.heard()

    async with asyncio.TaskGroup() as tasks:
        all_of_them = [tasks.create_task(converse(n)) for n in range(20)]
    said = [text for task in all_of_them for text in task.result()]
    assert len(set(said)) == len(said)  # sixty sounds, sixty names: a swapped one would show


async def test_speaking_over_an_answer_stops_it(talkative_server: RunningServer) -> None:
    async with phone(talkative_server) as held:
        await held.say(clip(SPOKEN[0]) + silence(700))
        await held.until("response.output_audio.delta", 50)
        await held.say(clip(SPOKEN[2])[: 48_000 * 2])
        done = (await held.until("response.done"))["response"]
        assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "turn_detected")
        item = done["output"][0]
        assert item["status"] == "incomplete"
        told = held.of("response.output_audio_transcript.done")[0]["transcript"]
        kept = item["content"][0]["transcript"]
        received_ms = len(held.sound[item["id"]]) / 48
        assert told.startswith(kept)
        assert 0 < len(kept) < len(told)
        assert abs(len(kept) / len(told) - received_ms / 6000) < 0.15
        started = held.of("input_audio_buffer.speech_started")
        assert len(started) == 2
        # the client knows better: it stopped playing earlier
        await held.connection.conversation.item.truncate(
            item_id=item["id"], content_index=0, audio_end_ms=600
        )
        cut = await held.until("conversation.item.truncated")
        assert cut["audio_end_ms"] == 600
        await held.connection.conversation.item.retrieve(item_id=item["id"])
        shown = (await held.until("conversation.item.retrieved"))["item"]
        assert kept.startswith(shown["content"][0]["transcript"])
        assert len(shown["content"][0]["transcript"]) < len(kept)
        await held.connection.conversation.item.truncate(
            item_id=item["id"], content_index=0, audio_end_ms=60_000
        )
        assert (await held.until("conversation.item.truncated", 2))["audio_end_ms"] == 600
        # and the interruption itself is answered
        await held.say(silence(900))
        await held.until("response.created", 2)


async def test_sound_after_an_interruption_stops_within_the_lead(
    talkative_server: RunningServer,
) -> None:
    async with phone(talkative_server) as held:
        await held.say(clip(SPOKEN[0]) + silence(700))
        await held.until("response.output_audio.delta", 30)
        await held.say(clip(SPOKEN[2])[: 48_000 * 2])
        await held.until("response.done")
        began = held.of("input_audio_buffer.speech_started")[1]["audio_start_ms"]
        last = max(t for t, e in held.events if e["type"] == "response.output_audio.delta")
        first = min(t for t, _ in held.events if _["type"] == "session.updated")
        # audio_start_ms counts the audio that this client sent; it began right after the update
        onset = first + (began + 300) / 1000
        assert last - onset < 0.45


async def test_a_commit_and_a_typed_question_are_answered_on_request(
    fake_server: RunningServer,
) -> None:
    off: dict[str, Any] = {"input": {"transcription": {"model": "any"}, "turn_detection": None}}
    async with phone(fake_server, audio=off) as held:
        for number in range(2):
            pcm = clip(SPOKEN[number])
            await held.connection.input_audio_buffer.append(audio=base64.b64encode(pcm).decode())
            await held.connection.input_audio_buffer.commit()
            await held.until("conversation.item.input_audio_transcription.completed", number + 1)
            await held.connection.response.create()
            await held.until("response.done", number + 1)
        assert_own_answers(held)
        assert not held.of("input_audio_buffer.speech_started")
        await held.connection.conversation.item.create(
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "ahoy"}],
            }
        )
        await held.connection.response.create(response={"output_modalities": ["text"]})
        await held.until("response.done", 3)
        assert "ahoy" in held.of("response.output_text.done")[0]["text"]


async def test_a_function_is_called_and_its_result_used(fake_server: RunningServer) -> None:
    tool = {
        "type": "function",
        "name": "lamp",
        "description": "x",
        "parameters": {"type": "object"},
    }
    async with phone(fake_server, tools=[tool]) as held:
        await held.connection.conversation.item.create(
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "now call lamp"}],
            }
        )
        await held.connection.response.create()
        call = (await held.until("response.done"))["response"]["output"][0]
        assert (call["type"], call["name"]) == ("function_call", "lamp")
        await held.connection.conversation.item.create(
            item={"type": "function_call_output", "call_id": call["call_id"], "output": "it is lit"}
        )
        await held.connection.response.create()
        await held.until("response.done", 2)
        assert "it is lit" in held.answers()[0]


async def test_the_microphone_may_be_muted_after_speaking(fake_server: RunningServer) -> None:
    async with phone(fake_server) as held:
        await held.say(clip(SPOKEN[0]))  # and then not one frame more
        await held.until("response.done", timeout_s=5)
        await held.say(clip(SPOKEN[1]))
        await held.until("response.done", 2, timeout_s=5)
        assert_own_answers(held)
