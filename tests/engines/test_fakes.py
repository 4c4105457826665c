import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from duologue.core.audio import AudioFrame
from duologue.core.conversation import FunctionResult, Message, Part
from duologue.core.errors import SetupError
from duologue.core.options import ReplyOptions, Tool
from duologue.engines.fakes import FakeLlm, FakePolicy, FakeStt, FakeTts, tone_hz
from duologue.ports import (
    Audio,
    CallDelta,
    Event,
    Final,
    Prompt,
    Say,
    SttOptions,
    TextDelta,
    TtsOptions,
)


async def until_final(stream: Any) -> AsyncIterator[Event]:
    async for event in stream.events():
        yield event
        if isinstance(event, Final):
            return


def said(text: str) -> Message:
    return Message("i", "user", (Part("input_text", text),))


async def answer(llm: FakeLlm, prompt: Prompt) -> str:
    return "".join([d.text async for d in llm.respond(prompt) if isinstance(d, TextDelta)])


def test_a_policy_is_read_and_nonsense_refused() -> None:
    policy = FakePolicy.parse("stt_ms=200, llm_tokens=3,fail=0.5")
    assert (policy.stt_ms, policy.llm_tokens, policy.fail) == (200, 3, 0.5)
    assert isinstance(policy.llm_tokens, int)
    for text in ("nix=3", "stt_ms", "stt_ms=soon"):
        with pytest.raises(SetupError) as refused:
            FakePolicy.parse(text)
        assert "stt_ms" in refused.value.remedy


async def test_the_recogniser_names_the_sound_and_tells_others_apart() -> None:
    texts = []
    for sound in (b"\1\0" * 512, b"\1\0" * 512, b"\2\0" * 512):
        stream = FakeStt().open("k", SttOptions())
        stream.offer(AudioFrame(sound, 0))
        stream.flush(1)
        stream.flush(2)
        first, second = await anext(stream.events()), await anext(stream.events())
        assert isinstance(first, Final)
        assert isinstance(second, Final)
        assert (first.id, first.upto, second.text) == (1, 512, "")
        texts.append(first.text)
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].endswith("32 ms")


async def test_the_recogniser_shares_the_time_among_its_words() -> None:
    stream = FakeStt().open("k", SttOptions(word_times=True))
    for _ in range(2):
        stream.offer(AudioFrame(b"\1\0" * 16_000, 32_000))
        stream.flush(1)
        final = await anext(stream.events())
        assert isinstance(final, Final)
        words = final.words
        assert " ".join(word.text for word in words) == final.text
        assert [word.end_ms for word in words[:-1]] == [word.start_ms for word in words[1:]]
        assert (words[0].start_ms, words[-1].end_ms) == (2_000, 3_000)
    stream = FakeStt().open("k", SttOptions(task="translate"))
    stream.offer(AudioFrame(b"\1\0" * 16_000, 0))
    stream.flush(1)
    final = await anext(stream.events())
    assert isinstance(final, Final)
    assert final.text.startswith("in English ")
    assert final.words == ()


async def test_the_model_echoes_what_it_was_told() -> None:
    llm = FakeLlm("llm_tokens=6")
    assert await answer(llm, Prompt((said("tea please"),), ReplyOptions())) == (
        "You said tea please and so."
    )
    limited = ReplyOptions(max_output_tokens=3)
    assert await answer(llm, Prompt((said("tea please"),), limited)) == "You said tea."
    assert await answer(FakeLlm(), Prompt((), ReplyOptions())) == (
        "You said nothing and so on and so on and so on."
    )
    result = Prompt((FunctionResult("r", "c", "42"),), ReplyOptions())
    assert "the function returned 42" in await answer(FakeLlm(), result)


async def test_the_model_calls_only_what_it_is_offered() -> None:
    tool = Tool("lamp", "", {})
    asked = said("now call lamp")
    prompt = Prompt((asked,), ReplyOptions(tools=(tool,)))
    deltas = [d async for d in FakeLlm().respond(prompt)]
    assert [type(d) for d in deltas] == [CallDelta, CallDelta]
    assert "now call lamp" in await answer(FakeLlm(), Prompt((asked,), ReplyOptions()))
    forbidden = ReplyOptions(tools=(tool,), tool_choice="none")
    assert "now call lamp" in await answer(FakeLlm(), Prompt((asked,), forbidden))


@pytest.mark.parametrize("pieces", [["Hello there, friend. "], ["One. ", "Two. ", "Three."]])
async def test_an_answer_lasts_as_long_as_it_is_told_to(pieces: list[str]) -> None:
    stream = FakeTts("tts_s=2").open("k", TtsOptions())
    for number, text in enumerate(pieces):
        stream.offer(Say(number, text))
    stream.flush(1)
    pcm = b""
    numbers = set()
    async for event in stream.events():
        if isinstance(event, Final):
            break
        assert isinstance(event, Audio)
        pcm += event.pcm
        numbers.add(event.number)
    assert abs(len(pcm) - 2 * 48_000) <= 8  # whole samples of each piece
    assert numbers == set(range(len(pieces)))


async def test_a_voice_without_a_length_reads_at_a_natural_pace() -> None:
    stream = FakeTts().open("k", TtsOptions())
    stream.offer(Say(0, "a" * 28))
    stream.flush(1)
    pcm = b""
    async for event in stream.events():
        if isinstance(event, Final):
            break
        assert isinstance(event, Audio)
        pcm += event.pcm
    assert len(pcm) == 2 * 48_000


async def test_a_pitch_can_be_asked_for() -> None:
    stream = FakeTts("tts_s=1,tts_hz=10000").open("k", TtsOptions())
    stream.offer(Say(0, "Anything."))
    stream.flush(1)
    events = [event async for event in until_final(stream)]
    pcm = b"".join(event.pcm for event in events if isinstance(event, Audio))
    spectrum = np.abs(np.fft.rfft(np.frombuffer(pcm, "<i2").astype(float)))
    assert np.argmax(spectrum) * 24_000 * 2 // len(pcm) == 10_000


def test_the_tone_follows_from_the_text() -> None:
    assert tone_hz("one") != tone_hz("two")
    assert 300 <= tone_hz("anything") <= 3_450


async def test_delays_are_waited_for_and_a_closed_stream_tells_nothing() -> None:
    stream = FakeStt("stt_ms=10").open("k", SttOptions())
    stream.flush(1)
    assert len(stream.events()) == 0
    async with asyncio.timeout(2):
        assert await anext(stream.events()) == Final(1, 0, "")
    stream.flush(2)
    await stream.aclose(cancel=True)
    with pytest.raises(StopAsyncIteration):
        await anext(stream.events())
