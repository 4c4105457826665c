"""Against a server that speaks Kyutai's wire on a real socket, and speaks words as tones."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest

from duologue.core.errors import AtCapacity, EngineLost, EngineRefused
from duologue.engines.remote.kyutai_tts import KyutaiTts
from duologue.engines.remote.told_words import ToldWords, words_of
from duologue.ports import Audio, EngineGone, Event, Final, Say, TtsOptions
from tests.engines.contract import TtsContract
from tests.engines.remote.moshi_peer import FRAME, TtsPeer, pitch_in, pitch_of

PIECES = ("The kettle is on.", " Supper (at last!) will be ready – soon.", " Yes.")


@pytest.fixture
async def peer() -> AsyncIterator[TtsPeer]:
    async with TtsPeer() as peer:
        yield peer


class TestContract(TtsContract):
    CAN_CHANGE_SPEED = False

    @pytest.fixture
    async def engine(self, peer: TtsPeer) -> KyutaiTts:
        engine = KyutaiTts(f"{peer.url}?streams=4")
        await asyncio.to_thread(engine.load)
        await asyncio.to_thread(engine.warm_up)
        return engine


async def until(stream: Any, finals: int = 1) -> list[Event]:
    events: list[Event] = []
    async with asyncio.timeout(10):
        async for event in stream.events():
            events.append(event)
            if sum(isinstance(e, Final) for e in events) == finals:
                break
    return events


def sound_of(events: Sequence[Event], number: int) -> bytes:
    return b"".join(e.pcm for e in events if isinstance(e, Audio) and e.number == number)


def pitches_in(pcm: bytes) -> list[int]:
    """Those of its frames, each once where it goes on."""
    sound = np.frombuffer(pcm, "<i2") / 32_768
    frames = sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME)
    found = [pitch_in(frame) for frame in frames]
    return [p for n, p in enumerate(found) if p and (n == 0 or found[n - 1] != p)]


async def test_each_piece_has_the_sound_of_its_words_and_their_times(peer: TtsPeer) -> None:
    stream = KyutaiTts(peer.url).open("s", TtsOptions(voice="a/b c.wav"))
    for number, text in enumerate(PIECES):
        assert stream.offer(Say(number, text))
    stream.flush(1)
    events = await until(stream)
    assert peer.queries == [{"format": ["PcmMessagePack"], "voice": ["a/b c.wav"]}]
    assert peer.texts == list(PIECES)
    expected = [
        ["The", "kettle", "is", "on."],
        ["Supper", "at", "last!", "will", "be", "ready", "soon."],
        ["Yes."],
    ]
    for number, words in enumerate(expected):
        pcm = sound_of(events, number)
        assert pitches_in(pcm) == [pitch_of(word) for word in words]
        told = [w for e in events if isinstance(e, Audio) and e.number == number for w in e.words]
        assert [PIECES[number][at:].split()[0].strip("()") for _, at in told] == words
        sound = np.frombuffer(pcm, "<i2") / 32_768
        for (ms, _), word in zip(told, words, strict=True):
            start = round(ms * 24)
            assert pitch_in(sound[start : start + FRAME]) == pitch_of(word)
    assert events[-1] == Final(1, 3)
    await stream.aclose()


async def test_text_is_spoken_while_more_of_it_comes(peer: TtsPeer) -> None:
    stream = KyutaiTts(peer.url).open("s", TtsOptions())
    stream.offer(Say(0, "one two three four five six seven eight nine ten"))
    async with asyncio.timeout(10):
        first = await anext(aiter(stream.events()))
    assert isinstance(first, Audio)  # although no flush has come
    stream.offer(Say(1, "eleven twelve"))
    stream.flush(1)
    events = [first, *await until(stream)]
    assert pitches_in(sound_of(events, 1)) == [pitch_of("eleven"), pitch_of("twelve")]
    await stream.aclose()


async def test_what_follows_a_flush_is_another_connection(peer: TtsPeer) -> None:
    stream = KyutaiTts(peer.url).open("s", TtsOptions())
    for number, text in enumerate(("Good morning to you.", "🙂", "And good night.")):
        stream.offer(Say(number, text))
        stream.flush(number)
    events = await until(stream, 3)
    assert [e for e in events if isinstance(e, Final)] == [Final(n, n + 1) for n in range(3)]
    assert pitches_in(sound_of(events, 2))[0] == pitch_of("And")
    assert peer.connections == 2
    await stream.aclose()


async def test_sound_that_nobody_takes_is_not_read(peer: TtsPeer, monkeypatch: Any) -> None:
    monkeypatch.setattr("duologue.engines.remote.kyutai_tts.MAX_UNTAKEN", 8)
    stream = KyutaiTts(peer.url).open("s", TtsOptions())
    stream.offer(Say(0, "word " * 600))
    stream.flush(1)
    sent = -1
    async with asyncio.timeout(10):
        while sent != peer.sent or not sent:  # until the server stands still
            sent = peer.sent
            for _ in range(500):
                await asyncio.sleep(0)
    assert len(stream.events()) == 8
    assert sent < 1_000
    events = await until(stream)
    assert len(sound_of(events, 0)) // 2 > 1_200 * FRAME
    await stream.aclose()


async def test_a_full_server_is_at_capacity() -> None:
    async with TtsPeer(places=0) as peer:
        stream = KyutaiTts(peer.url).open("s", TtsOptions())
        stream.offer(Say(0, "Hello."))
        (gone,) = await until(stream)
        assert isinstance(gone, EngineGone)
        assert (type(gone.error), gone.error.code) == (AtCapacity, "tts_rate_limited")
        await stream.aclose()


@pytest.mark.parametrize("says_goodbye", [True, False])
async def test_however_a_server_ends_a_whole_answer_it_is_whole(
    peer: TtsPeer, says_goodbye: bool
) -> None:
    peer.says_goodbye = says_goodbye
    stream = KyutaiTts(peer.url).open("s", TtsOptions())
    stream.offer(Say(0, "Good morning."))
    stream.flush(1)
    events = await until(stream)
    assert events[-1] == Final(1, 1)
    assert pitches_in(sound_of(events, 0)) == [pitch_of("Good"), pitch_of("morning.")]
    await stream.aclose()


async def test_a_connection_lost_in_the_middle_is_told(peer: TtsPeer) -> None:
    peer.breaks_at = 5
    stream = KyutaiTts(peer.url).open("s", TtsOptions())
    stream.offer(Say(0, "Good morning to you, and to everybody else."))
    stream.flush(1)
    events = await until(stream)
    assert len(sound_of(events, 0)) == 2 * 5 * FRAME
    gone = events[-1]
    assert isinstance(gone, EngineGone)
    assert (type(gone.error), gone.error.code) == (EngineLost, "tts_broke_off")
    await stream.aclose()


async def test_cancelling_frees_the_place_on_the_server(peer: TtsPeer) -> None:
    took_ms = []
    for _ in range(5):
        stream = KyutaiTts(peer.url).open("s", TtsOptions())
        stream.offer(Say(0, "word " * 2_000))
        async with asyncio.timeout(10):
            await anext(aiter(stream.events()))
        peer.closed.clear()
        began = time.perf_counter()
        await stream.aclose(cancel=True)
        async with asyncio.timeout(10):
            await peer.closed.wait()
        took_ms.append((time.perf_counter() - began) * 1000)
    assert min(took_ms) < 50, took_ms


async def test_the_wrong_key_is_refused() -> None:
    async with TtsPeer(keys=("secret",)) as peer:
        with pytest.raises(EngineRefused) as refused:
            await asyncio.to_thread(KyutaiTts(peer.url).warm_up)
        assert refused.value.code == "tts_unauthorised"


# --- which sound belongs to which piece ---
def test_words_are_split_as_the_server_splits_them() -> None:
    assert words_of("") == words_of(" – () ") == []
    assert words_of(" It’s: (a b)–c") == [(1, "It's"), (8, "a"), (10, "b–c".replace("–", ""))]


def fed(seed: int) -> tuple[list[list[str]], list[Audio], list[tuple[int, int]]]:
    """A text in pieces, told word by word while its sound comes; a word's sound is its own number."""
    dice = np.random.default_rng(seed)
    texts = [[f"w{k}_{n}" for n in range(dice.integers(1, 6))] for k in range(dice.integers(1, 6))]
    told, events, spans, at = ToldWords(24_000), list[Audio](), list[tuple[int, int]](), 0
    for number, words in enumerate(texts):
        told.sent(10 * number, " ".join(words))
        for _ in words:
            spans.append((at, at := at + int(dice.integers(3, 40)) * 100))
    delay, sounded = int(dice.integers(0, 60)) * 100, 0
    for (start, stop), word in zip(spans, [w for words in texts for w in words], strict=True):
        told.told(word, start / 24_000, stop / 24_000)
        pcm = bytes(2 * max(0, stop - delay - sounded))
        sounded += len(pcm) // 2
        events += told.sound(pcm)
    events += told.sound(bytes(2 * (at - sounded)))
    events += told.end()
    return texts, events, spans


@pytest.mark.parametrize("seed", range(60))
def test_every_piece_has_sound_in_order_and_every_word_its_time(seed: int) -> None:
    texts, events, spans = fed(seed)
    numbers = [e.number for e in events]
    assert numbers == sorted(numbers)
    assert set(numbers) == {10 * n for n in range(len(texts))}
    assert all(e.pcm for e in events)
    total = sum(len(e.pcm) // 2 for e in events)
    assert spans[-1][1] <= total <= spans[-1][1] + 240 * (len(texts) + 1)
    ends = np.cumsum(
        [sum(len(e.pcm) // 2 for e in events if e.number == 10 * n) for n in range(len(texts))]
    )
    starts = [0, *ends[:-1].tolist()]
    for number, words in enumerate(texts):
        told = [w for e in events if e.number == 10 * number for w in e.words]
        assert [at for _, at in told] == [at for at, _ in words_of(" ".join(words))]
        assert told == sorted(told)
        first = sum(len(each) for each in texts[:number])
        if seed % 2 == 0 or number:
            real = [spans[first + n][0] for n in range(len(words))]
            heard = [starts[number] + ms * 24 for ms, _ in told]
            assert all(h >= r - 241 * (number + 1) for h, r in zip(heard, real, strict=True))


def test_words_told_otherwise_than_they_were_sent_cost_no_piece() -> None:
    told, events = ToldWords(24_000), list[Audio]()
    for number, text in enumerate(("a b c", "d e", "f g")):
        told.sent(number, text)
    for n, word in enumerate(("a", "bc", "x", "f", "g")):
        told.told(word, n, n + 1)
        events += told.sound(bytes(2 * 24_000))
    events += told.end()
    numbers = [e.number for e in events]
    assert numbers == sorted(numbers)
    assert set(numbers) == {0, 1, 2}
    assert told.is_all_told


def test_what_the_server_never_told_of_counts_as_said() -> None:
    told = ToldWords(24_000)
    for number, text in enumerate(("a b", "c", "d")):
        told.sent(number, text)
    told.told("a", 0.0, 0.5)
    events = [*told.sound(bytes(2 * 24_000)), *told.end()]
    assert [e.number for e in events] == [0, 1, 2]
    assert [w for e in events for w in e.words] == [(0.0, 0), (500.0, 2)]
    assert not told.is_all_told
