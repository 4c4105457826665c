"""What every recogniser and every voice must do, whoever wrote it: one suite, run on each.

    class TestMine(SttContract):
        @pytest.fixture
        def engine(self, mine: Mine) -> Mine:    # loaded, and has run; by a fixture of the module's
            return mine

What an engine cannot do by its nature is said
by the attributes of the class, not by leaving a test out.
"""

import asyncio
import time
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

import numpy as np

from duologue.core.audio import STREAM, WINDOW_SAMPLES, AudioFrame, ms_to_samples
from duologue.core.capabilities import Role
from duologue.engines.pool_inprocess import InProcessPool
from duologue.ports import Audio, EngineGone, Event, Final, Partial, Say, SttOptions, TtsOptions
from tests.support.clips import clip

PATIENCE_S = 30.0
"""No test waits longer for an engine."""

CANCEL_MS = 50.0
"""DESIGN section 4: a cancelled stream gives its place back within this."""

TRIES = 5
"""The best of so many counts for `CANCEL_MS`: the machine has other things to do."""


async def _place_came_back(pool: InProcessPool) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while pool.streams:  # noqa: ASYNC110 - a stream's end is nobody's event here
            await asyncio.sleep(0.001)


async def _until(stream: Any, *, finals: int) -> list[Event]:
    events: list[Event] = []
    async with asyncio.timeout(PATIENCE_S):
        async for event in stream.events():
            events.append(event)
            if sum(isinstance(e, Final) for e in events) == finals:
                break
    return events


def _finals(events: Sequence[Event]) -> list[Final]:
    assert not [e.error for e in events if isinstance(e, EngineGone)]
    return [e for e in events if isinstance(e, Final)]


# --- recognisers ---
def frames_of(pcm: bytes, start: int = 0) -> list[AudioFrame]:
    """Sound in windows, as a session gives it; the last may be shorter."""
    size = WINDOW_SAMPLES * 2
    return [AudioFrame(pcm[at : at + size], start + at // 2) for at in range(0, len(pcm), size)]


async def _hear(stream: Any, frames: Sequence[AudioFrame]) -> None:
    for frame in frames:
        while not stream.offer(frame):
            async with asyncio.timeout(PATIENCE_S):
                await stream.room()


class SttContract:
    """The suite for recognisers."""

    LANGUAGE = "en"
    ADAPTS = False  # what it heard before changes a little what it hears next
    CLIP = "commands-numbers.flac"
    OTHER_CLIP = "wake-okay_nabu_2.flac"

    def sound(self) -> bytes:
        """An utterance of a few seconds."""
        return clip(self.CLIP, STREAM.rate_hz)

    async def _open(self, pool: InProcessPool, **options: Any) -> Any:
        return await pool.open(Role.STT, "session", SttOptions(self.LANGUAGE, **options))

    async def _transcribe(self, pool: InProcessPool, pcm: bytes, **options: Any) -> Final:
        stream = await self._open(pool, **options)
        await _hear(stream, frames_of(pcm))
        stream.flush(1)
        (final,) = _finals(await _until(stream, finals=1))
        await stream.aclose()
        return final

    async def test_it_says_what_it_can_do(self, engine: Any) -> None:
        capabilities = engine.capabilities
        assert capabilities.rate_hz == STREAM.rate_hz
        assert capabilities.max_streams >= 1
        assert capabilities.languages

    async def test_each_flush_is_answered_in_order_and_says_how_far_it_went(
        self, engine: Any
    ) -> None:
        stream = await self._open(pool := InProcessPool(engine))
        frames = frames_of(self.sound())
        cut = len(frames) // 2
        stream.flush(3)
        await _hear(stream, frames[:cut])
        stream.flush(4)
        await _hear(stream, frames[cut:])
        stream.flush(9)
        finals = _finals(await _until(stream, finals=3))
        assert [f.id for f in finals] == [3, 4, 9]
        assert [f.upto for f in finals] == [0, frames[cut - 1].end, frames[-1].end]
        assert finals[0].text == ""
        await stream.aclose()
        await _place_came_back(pool)

    async def test_sound_that_counts_from_elsewhere_is_counted_from_there(
        self, engine: Any
    ) -> None:
        stream = await self._open(InProcessPool(engine))
        frames = frames_of(self.sound(), start=1_000_000)
        await _hear(stream, frames)
        stream.flush(1)
        (final,) = _finals(await _until(stream, finals=1))
        assert final.upto == frames[-1].end
        await stream.aclose()

    async def test_the_same_sound_is_heard_the_same_whoever_speaks_beside_it(
        self, engine: Any
    ) -> None:
        pool = InProcessPool(engine)
        sounds = [clip(self.CLIP, STREAM.rate_hz), clip(self.OTHER_CLIP, STREAM.rate_hz)]
        alone = [(await self._transcribe(pool, pcm)).text for pcm in sounds]
        await _place_came_back(pool)
        many = min(4, engine.capabilities.max_streams)
        streams = [await self._open(pool) for _ in range(many)]
        for number, stream in enumerate(streams):
            await _hear(stream, frames_of(sounds[number % 2]))
        for stream in streams:
            stream.flush(1)
        for number, stream in enumerate(streams):
            (final,) = _finals(await _until(stream, finals=1))
            own, other = (
                SequenceMatcher(None, final.text, alone[which]).ratio()
                for which in (number % 2, 1 - number % 2)
            )
            assert own > other if self.ADAPTS else own == 1, (final.text, alone)
            await stream.aclose()

    async def test_no_sound_is_too_odd(self, engine: Any) -> None:
        pool = InProcessPool(engine)
        noise = np.random.default_rng(1).integers(-32768, 32767, ms_to_samples(1_000), np.int16)
        odd = {
            "silence": bytes(2 * ms_to_samples(2_000)),
            "noise": noise.astype("<i2").tobytes(),
            "a sample": b"\x01\x00",
            "the loudest": b"\xff\x7f" * ms_to_samples(200),
            "long": (self.sound() * 40)[: 2 * ms_to_samples(35_000)],
        }
        for pcm in odd.values():
            final = await self._transcribe(pool, pcm)
            assert final.upto == len(pcm) // 2
            await _place_came_back(pool)

    async def test_words_lie_in_order_within_the_sound_where_they_are_known(
        self, engine: Any
    ) -> None:
        if not engine.capabilities.word_times:
            return
        pcm = self.sound()
        final = await self._transcribe(InProcessPool(engine), pcm, word_times=True)
        for word in final.words:
            assert word.text.strip() == word.text != ""
            assert -200 <= word.start_ms <= word.end_ms <= len(pcm) // 32 + 200
            assert word.logprob is None or word.logprob <= 0
        assert all(a.start_ms <= b.start_ms for a, b in pairwise(final.words))

    async def test_hints_of_any_kind_are_taken(self, engine: Any) -> None:
        hints = ("turn on the light", "", "<|endoftext|>", "Grüße, 東京", "x" * 5_000)
        await self._transcribe(InProcessPool(engine), self.sound(), hints=hints)

    async def test_a_language_that_is_not_known_is_refused_or_heard_all_the_same(
        self, engine: Any
    ) -> None:
        pool = InProcessPool(engine)
        stream = await pool.open(Role.STT, "session", SttOptions("xx"))
        await _hear(stream, frames_of(self.sound()))
        stream.flush(1)
        events = await _until(stream, finals=1)
        codes = [e.error.code for e in events if isinstance(e, EngineGone)]
        assert codes != ["engine_broke"]
        await stream.aclose(cancel=True)
        await _place_came_back(pool)

    async def test_a_cancelled_stream_is_gone_at_once(self, engine: Any) -> None:
        pool, took_ms = InProcessPool(engine), []
        for _ in range(TRIES):
            stream = await self._open(pool)
            await _hear(stream, frames_of(self.sound()))
            stream.flush(1)
            began = time.perf_counter()
            await stream.aclose(cancel=True)
            await _place_came_back(pool)
            took_ms.append((time.perf_counter() - began) * 1000)
        assert min(took_ms) < CANCEL_MS, took_ms

    async def test_partials_are_no_finals_and_come_before_theirs(self, engine: Any) -> None:
        stream = await self._open(InProcessPool(engine))
        await _hear(stream, frames_of(self.sound()))
        stream.flush(1)
        events = await _until(stream, finals=1)
        assert isinstance(events[-1], Final)
        assert all(isinstance(e, Partial) for e in events[:-1])
        await stream.aclose()


# --- voices ---
SENTENCE = "The kettle is on, and supper will be ready at a quarter past seven."
LONG = " ".join([SENTENCE] * 40)

NOTHING_TO_SAY = ("", " ", "\n\n", "…", "-", "🙂", "***", "\u200b")


class TtsContract:
    """The suite for voices."""

    LANGUAGE = "en"
    CAN_CHANGE_SPEED = True
    CAN_NAME_WORDS = True

    async def _open(self, pool: InProcessPool, **options: Any) -> Any:
        given = {"language": self.LANGUAGE, **options}
        return await pool.open(Role.TTS, "session", TtsOptions(**given))

    async def _say(self, pool: InProcessPool, *texts: str, **options: Any) -> list[Event]:
        stream = await self._open(pool, **options)
        for number, text in enumerate(texts):
            assert stream.offer(Say(number, text))
        stream.flush(7)
        events = await _until(stream, finals=1)
        await stream.aclose()
        await _place_came_back(pool)
        return events

    @staticmethod
    def _samples(events: Sequence[Event], number: int | None = None) -> int:
        return sum(
            len(e.pcm) // 2 for e in events if isinstance(e, Audio) and number in (None, e.number)
        )

    async def test_it_says_what_it_can_do(self, engine: Any) -> None:
        capabilities = engine.capabilities
        assert 8_000 <= capabilities.rate_hz <= 48_000
        assert capabilities.max_streams >= 1
        assert capabilities.languages

    async def test_pieces_are_spoken_in_order_and_the_flush_tells_that_all_were(
        self, engine: Any
    ) -> None:
        events = await self._say(InProcessPool(engine), "One.", SENTENCE, "And three.")
        (final,) = _finals(events)
        assert (final.id, final.upto) == (7, 3)
        numbers = [e.number for e in events if isinstance(e, Audio)]
        assert numbers == sorted(numbers)
        assert set(numbers) == {0, 1, 2}
        assert all(e.pcm and len(e.pcm) % 2 == 0 for e in events if isinstance(e, Audio))
        rate_hz = engine.capabilities.rate_hz
        assert 0.3 < self._samples(events, 1) / rate_hz < 60

    async def test_a_flush_between_pieces_is_answered_and_the_next_goes_on(
        self, engine: Any
    ) -> None:
        stream = await self._open(InProcessPool(engine))
        stream.offer(Say(0, "One."))
        stream.flush(1)
        stream.offer(Say(1, "Two."))
        stream.flush(2)
        events = await _until(stream, finals=2)
        finals = _finals(events)
        assert [(f.id, f.upto) for f in finals] == [(1, 1), (2, 2)]
        at = events.index(finals[0])
        assert {e.number for e in events[:at] if isinstance(e, Audio)} == {0}
        assert {e.number for e in events[at:] if isinstance(e, Audio)} == {1}
        await stream.aclose()

    async def test_what_has_no_sound_is_passed_over(self, engine: Any) -> None:
        pool = InProcessPool(engine)
        events = await self._say(pool, *NOTHING_TO_SAY)
        assert _finals(events)[0].upto == len(NOTHING_TO_SAY)
        events = await self._say(pool)
        assert [type(e) for e in events] == [Final]

    async def test_any_text_is_spoken(self, engine: Any) -> None:
        odd = ("Grüße aus 東京, naïve café!", "https://example.com/a?b=1", "\x00\x07", "a" * 400)
        assert _finals(await self._say(InProcessPool(engine), *odd))

    async def test_words_lie_within_their_piece_and_its_sound(self, engine: Any) -> None:
        events = await self._say(InProcessPool(engine), SENTENCE)
        length_ms = self._samples(events) * 1000 / engine.capabilities.rate_hz
        words = [word for e in events if isinstance(e, Audio) for word in e.words]
        assert bool(words) is self.CAN_NAME_WORDS
        assert all(0 <= ms <= length_ms and 0 <= at < len(SENTENCE) for ms, at in words)
        assert words == sorted(words)

    async def test_speed_changes_how_long_it_takes(self, engine: Any) -> None:
        if not self.CAN_CHANGE_SPEED:
            return
        pool = InProcessPool(engine)
        slow = self._samples(await self._say(pool, SENTENCE, speed=0.7))
        fast = self._samples(await self._say(pool, SENTENCE, speed=1.5))
        assert slow > 1.3 * fast

    async def test_a_voice_or_language_that_is_not_there_is_no_bug(self, engine: Any) -> None:
        pool = InProcessPool(engine)
        for options in ({"voice": "nobody"}, {"language": "xx"}):
            events = await self._say(pool, SENTENCE, **options)
            codes = [e.error.code for e in events if isinstance(e, EngineGone)]
            assert codes != ["engine_broke"]

    async def test_streams_beside_one_another_do_not_mix(self, engine: Any) -> None:
        pool = InProcessPool(engine)
        many = min(3, engine.capabilities.max_streams)
        streams = [await self._open(pool) for _ in range(many)]
        for number, stream in enumerate(streams):
            stream.offer(Say(10 * number, SENTENCE))
            stream.flush(number)
        for number, stream in enumerate(streams):
            events = await _until(stream, finals=1)
            assert _finals(events)[0].id == number
            assert {e.number for e in events if isinstance(e, Audio)} == {10 * number}
            await stream.aclose()

    async def test_a_cancelled_stream_is_gone_at_once(self, engine: Any) -> None:
        pool, took_ms = InProcessPool(engine), []
        for _ in range(TRIES):
            stream = await self._open(pool)
            stream.offer(Say(0, LONG))
            stream.flush(1)
            async with asyncio.timeout(PATIENCE_S):
                await anext(aiter(stream.events()))
            began = time.perf_counter()
            await stream.aclose(cancel=True)
            await _place_came_back(pool)
            took_ms.append((time.perf_counter() - began) * 1000)
        assert min(took_ms) < CANCEL_MS, took_ms
