"""The recogniser as sessions use it: real models, recorded speech, real processes."""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise

import numpy as np
import psutil
import pytest

from duologue.core.audio import AudioFrame, ms_to_samples
from duologue.core.capabilities import Role
from duologue.core.errors import AtCapacity, EngineLost, EngineRefused, OurError, SetupError
from duologue.engines import registry
from duologue.engines.base import Flush, Item, StreamCancelled
from duologue.engines.chain import Link
from duologue.engines.pocketsphinx import decoders
from duologue.engines.pocketsphinx.engine import SPEC, Pocketsphinx
from duologue.engines.pool_inprocess import InProcessPool
from duologue.engines.pool_subprocess import SubprocessPool
from duologue.engines.resilient import ResilientPool
from duologue.ports import EngineGone, EnginePool, EngineStream, Event, Final, Partial, SttOptions
from tests.engines.pocketsphinx.listening import (
    AUSTEN,
    CLUBS,
    DIGITS,
    FRAME,
    LOUD,
    RATE,
    SOMETHING,
    Inbox,
    events_of,
    events_with,
    finals,
    frames,
    heard,
    partials,
    right_words,
    speech,
    synthetic,
    transcript,
)
from tests.support.workers import workers

ENGLISH = SttOptions("en")
TIMED = SttOptions("en", word_times=True)

LOOK = -(-ms_to_samples(300) // FRAME)
"""Frames from one look at the hypothesis to the next."""


# --- one stream ---
def test_it_is_found_by_its_name_and_says_what_it_can() -> None:
    assert registry.find("pocketsphinx", Role.STT) == (SPEC, "")
    assert registry.find("pocketsphinx:dictation", Role.STT) == (SPEC, "dictation")
    assert SPEC.is_own_process
    assert (SPEC.capabilities.languages, SPEC.capabilities.rate_hz) == (("en",), RATE)


def test_each_flush_is_answered_with_what_was_said_before_it(engine: Pocketsphinx) -> None:
    names = (SOMETHING, DIGITS, SOMETHING)
    items: list[Item] = []
    at = 1_000
    for number, name in enumerate(names):
        sound = frames(speech(name), at)
        items += [*sound, Flush(10 + number)]
        at = sound[-1].end + 500
    events = events_of(engine, *items)
    found = finals(events)
    assert [final.id for final in found] == [10, 11, 12]
    ends = [a.end for a, b in pairwise(items) if isinstance(a, AudioFrame) and isinstance(b, Flush)]
    assert [final.upto for final in found] == ends
    for name, final in zip(names, found, strict=True):
        said = transcript(name)
        assert right_words(said, final.text) >= len(said) - 2
        assert len(final.text.split()) <= len(said) + 1


def test_partials_come_at_intervals_and_grow(engine: Pocketsphinx) -> None:
    inbox = Inbox([*frames(speech(DIGITS), 100), Flush(1)])
    seen: list[tuple[int, Event]] = []
    engine.run(ENGLISH, inbox, lambda event: seen.append((512 * inbox.given, event)))
    *before, (_, final) = seen
    assert isinstance(final, Final)
    assert all(isinstance(event, Partial) for _, event in before)
    times = [samples for samples, _ in before]
    assert all(b - a >= ms_to_samples(300) for a, b in pairwise(times))
    texts = partials([event for _, event in before])
    assert all(a != b for a, b in pairwise(texts))
    counts = [len(text.split()) for text in texts]
    assert counts[0] <= 3
    assert counts[-1] >= 13
    assert all(b >= a - 1 for a, b in pairwise(counts))
    assert texts[-1].split()[:10] == final.text.split()[:10]


def test_each_utterance_has_partials_of_its_own(engine: Pocketsphinx) -> None:
    sound = frames(speech(SOMETHING))
    seen: list[tuple[int, Event]] = []
    inbox = Inbox([*sound, Flush(1)])
    engine.run(ENGLISH, inbox, lambda event: seen.append((inbox.given, event)))
    (at, first), *_ = seen
    assert at % LOOK == 0
    events = events_of(engine, *sound[:at], Flush(1), *sound[:at], Flush(2))
    assert [type(event) for event in events] == [Partial, Final] * 2
    assert events[0] == events[2] == first  # said again, for it is another utterance

    inbox = Inbox([*frames(bytes(2 * 512 * (LOOK - 1))), Flush(1), *sound])
    seen.clear()
    engine.run(ENGLISH, inbox, lambda event: seen.append((inbox.given, event)))
    assert len(seen) > 4
    assert [(given - LOOK) % LOOK for given, event in seen if isinstance(event, Partial)] == [0] * (
        len(seen) - 1
    )  # the silence before does not count to the first look


def test_a_flush_without_sound_is_answered_with_nothing(engine: Pocketsphinx) -> None:
    sound = frames(speech(SOMETHING), 700)
    events = events_of(engine, Flush(1), Flush(2), *sound, Flush(3), Flush(4))
    assert [final.upto for final in finals(events)] == [0, 0, sound[-1].end, sound[-1].end]
    assert [bool(final.text) for final in finals(events)] == [False, False, True, False]


def test_silence_and_noise_say_little(engine: Pocketsphinx) -> None:
    assert heard(engine, bytes(3 * 2 * RATE)) == ""
    assert len(heard(engine, speech("noise-sb_noise3.flac")).split()) <= 4


def test_a_stream_that_is_cancelled_ends_at_once(engine: Pocketsphinx) -> None:
    inbox = Inbox([*frames(speech(DIGITS)), Flush(1)], cancel_after=20)
    events: list[Event] = []
    engine.run(ENGLISH, inbox, events.append)
    assert inbox.given == 20
    assert finals(events) == []
    assert heard(engine, speech(DIGITS)).startswith("one zero zero")


def test_a_stream_whose_events_nobody_takes_gives_its_decoder_back(engine: Pocketsphinx) -> None:
    def refuse(event: Event) -> None:
        raise StreamCancelled

    expected = heard(engine, speech(SOMETHING))
    for _ in range(SPEC.capabilities.max_streams + 1):
        with pytest.raises(StreamCancelled):
            engine.run(ENGLISH, Inbox([*frames(speech(SOMETHING)[:20_000]), Flush(1)]), refuse)
    assert heard(engine, speech(SOMETHING)) == expected


# --- words ---
def test_words_have_the_times_at_which_they_were_said(engine: Pocketsphinx) -> None:
    at, gap = 48_000, 900_000
    sound = speech(DIGITS)
    items: list[Item] = [*frames(sound, at), Flush(1), *frames(speech(CLUBS), gap), Flush(2)]
    one, two = finals(events_with(engine, TIMED, *items))
    for final, begin, pcm in ((one, at, sound), (two, gap, speech(CLUBS))):
        assert " ".join(word.text for word in final.words) == final.text
        times = [t for word in final.words for t in (word.start_ms, word.end_ms)]
        assert times == sorted(times)
        assert begin // 16 <= times[0] < times[-1] <= (begin + len(pcm) // 2) / 16
        assert all(word.logprob is not None and -14 < word.logprob <= 0 for word in final.words)
    level = np.abs(np.frombuffer(sound, "<i2").astype(float))
    for word in one.words:  # each lies where there is sound, and the long pauses hold none
        begin, end = (t * 16 - at for t in (word.start_ms, word.end_ms))
        assert level[begin:end].max() > 1_000
    pauses = [b.start_ms - a.end_ms for a, b in pairwise(one.words)]
    assert sum(pause > 1_000 for pause in pauses) == 2
    assert pauses.index(max(pauses)) in (4, 9)


def test_words_are_told_where_somebody_asks_and_how_sure_they_are_always(
    engine: Pocketsphinx,
) -> None:
    (plain,) = finals(events_of(engine, *frames(speech(CLUBS)), Flush(1)))
    (timed,) = finals(events_with(engine, TIMED, *frames(speech(CLUBS)), Flush(1)))
    assert plain.words == ()
    assert plain.confidence is not None
    logprobs = [word.logprob for word in timed.words if word.logprob is not None]
    assert plain.confidence == pytest.approx(math.exp(sum(logprobs) / len(logprobs)), rel=0.01)


def test_who_says_nothing_and_who_was_not_weighed_is_not_sure_of_anything(
    engine: Pocketsphinx, monkeypatch: pytest.MonkeyPatch
) -> None:
    (silent,) = finals(events_of(engine, *frames(bytes(2 * RATE)), Flush(1)))
    assert silent.confidence is None
    monkeypatch.setattr(decoders, "LONGEST_SEARCHED", 0)
    (long,) = finals(events_of(engine, *frames(speech(CLUBS)), Flush(1)))
    assert long.confidence is None


def test_words_of_what_the_first_pass_heard_are_not_weighed(
    engine: Pocketsphinx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "LONGEST_SEARCHED", 0)
    (final,) = finals(events_with(engine, TIMED, *frames(speech(CLUBS)), Flush(1)))
    assert " ".join(word.text for word in final.words) == final.text
    assert len(final.words) == 3
    assert all(word.logprob is None for word in final.words)


def test_silence_has_no_words(engine: Pocketsphinx) -> None:
    (final,) = finals(events_with(engine, TIMED, *frames(bytes(3 * 2 * RATE)), Flush(1)))
    assert (final.text, final.words) == ("", ())


# --- options ---
def test_a_translation_is_refused(engine: Pocketsphinx) -> None:
    with pytest.raises(EngineRefused) as refused:
        events_with(engine, SttOptions(task="translate"), Flush(1))
    assert refused.value.code == "stt_translation_not_supported"
    assert "Whisper" in refused.value.remedy


@pytest.mark.parametrize("language", ["", "en", "EN", "en-US", "en_GB"])
def test_english_is_its_language(engine: Pocketsphinx, language: str) -> None:
    events: list[Event] = []
    engine.run(SttOptions(language), Inbox([Flush(1)]), events.append)
    assert events == [Final(1, 0, "")]


@pytest.mark.parametrize("language", ["de", "eng", "nonsense", "-", "zh-en"])
def test_another_language_is_refused(engine: Pocketsphinx, language: str) -> None:
    with pytest.raises(EngineRefused) as refused:
        engine.run(SttOptions(language), Inbox([Flush(1)]), lambda event: None)
    assert refused.value.code == "stt_language_not_supported"
    assert language in refused.value.message
    assert refused.value.remedy


@pytest.mark.parametrize("argument", ["dictate", "Dictation", "en", " "])
def test_an_unknown_argument_is_refused_before_anything_is_loaded(argument: str) -> None:
    with pytest.raises(SetupError) as refused:
        Pocketsphinx(argument)
    assert refused.value.code == "stt_search_unknown"
    assert "pocketsphinx:dictation" in refused.value.remedy


def test_it_must_be_loaded_first_and_may_be_closed() -> None:
    engine = Pocketsphinx()
    for _ in range(2):
        with pytest.raises(OurError):
            engine.run(ENGLISH, Inbox([Flush(1)]), lambda event: None)
        with pytest.raises(OurError):
            engine.warm_up()
        engine.close()


# --- what is recognised ---
def test_known_commands_are_recognised(engine: Pocketsphinx) -> None:
    clips = (SOMETHING, DIGITS, CLUBS, "commands-cards_002.flac")
    said = sum(len(transcript(name)) for name in clips)
    right = sum(right_words(transcript(name), heard(engine, speech(name))) for name in clips)
    assert right >= 0.75 * said  # 24 of 27 as of writing
    spoken = ("turn on the kitchen light", "set a timer for ten minutes", "what time is it")
    right = sum(right_words(t.split(), heard(engine, synthetic(t))) for t in spoken)
    assert right >= 9  # of 15


@pytest.mark.parametrize(
    ("phrase", "hints"),
    [
        ("turn on the zigbee bridge", ("ZigbeeBridge",)),
        ("activate warp drive", ("activate_warp_drive",)),
        ("play the zigbee", ("Some Thing, Zigbee!",)),
        ("two pizza margherita please", ("pizza margherita", "lasagne", "tiramisu")),
    ],
)
def test_what_is_hinted_at_is_recognised_and_was_not_before(
    engine: Pocketsphinx, phrase: str, hints: tuple[str, ...]
) -> None:
    said = set(phrase.split()) - {"the", "on", "turn", "two", "please", "play"}
    assert not said & set(heard(engine, synthetic(phrase)).split())
    assert said <= set(heard(engine, synthetic(phrase), *hints).split())


def test_a_hint_helps_a_recorded_speaker_and_costs_the_others_nothing(engine: Pocketsphinx) -> None:
    assert heard(engine, speech(CLUBS)) != "seven of clubs"
    assert heard(engine, speech(CLUBS), "Seven of clubs") == "seven of clubs"
    assert heard(engine, speech(DIGITS), "Queen of clubs") == heard(engine, speech(DIGITS))
    assert heard(engine, speech(CLUBS)) != "seven of clubs"  # another stream's hints are its own


def test_dictation_understands_sentences_that_commands_do_not(engine: Pocketsphinx) -> None:
    dictation = Pocketsphinx("dictation")
    dictation.load()
    dictation.warm_up()
    assert dictation.capabilities.max_streams < engine.capabilities.max_streams
    names = ("lj-LJ001-0002.flac", "lj-LJ001-0008.flac", SOMETHING)
    right = {
        one: sum(right_words(transcript(name), heard(one, speech(name))) for name in names)
        for one in (engine, dictation)
    }
    assert right[dictation] > right[engine]
    assert right[dictation] >= 0.6 * sum(len(transcript(name)) for name in names)
    assert heard(dictation, speech(CLUBS), "seven of clubs") == heard(dictation, speech(CLUBS))
    dictation.close()


# --- hostile ---
def test_more_streams_than_it_can_serve_are_refused(engine: Pocketsphinx) -> None:
    depth = 0

    def open_another(event: Event) -> None:
        nonlocal depth
        depth += 1
        engine.run(ENGLISH, Inbox([Flush(1)]), open_another)

    with pytest.raises(AtCapacity):
        open_another(Final(0, 0))
    assert depth == SPEC.capabilities.max_streams + 1
    assert heard(engine, speech(SOMETHING)).startswith("go somewhere")


SCRAPS = [b"", b"\1", b"\1\2\3", LOUD[:1023], b"\xff\x7f" * 3, random.Random(1).randbytes(64_001)]


@pytest.mark.parametrize("size", [1, 512, 1_000_000])
def test_odd_sound_is_survived(engine: Pocketsphinx, size: int) -> None:
    pcm = LOUD + random.Random(2).randbytes(RATE) + b"\1"
    sound = frames(pcm if size > 1 else pcm[-3_000:], size=size)
    scraps = [AudioFrame(scrap, 0) for scrap in SCRAPS]
    events = events_of(
        engine, *scraps, Flush(1), *sound, Flush(2), *frames(speech(SOMETHING)), Flush(3)
    )
    assert [final.id for final in finals(events)] == [1, 2, 3]
    assert "some" in finals(events)[-1].text  # it has hardly learnt to hear again
    assert heard(engine, speech(SOMETHING)).startswith("go somewhere")


def test_a_minute_without_a_pause_is_survived_in_bounded_memory(engine: Pocketsphinx) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    for pcm in (60 * LOUD, speech(AUSTEN) * 3):
        (final,) = finals(events_of(engine, *frames(pcm), Flush(1)))
        assert final.upto == len(pcm) // 2
    assert process.memory_info().rss - before < 80 * 2**20
    assert heard(engine, speech(SOMETHING)).startswith("go somewhere")


@pytest.mark.parametrize(
    "hints",
    [
        ("🥛", "\x00\x1b\u2028", "?!", "<s> </s> <sil> [NOISE] ++UH++"),
        ("." * 1_000_000 + "a",),
        ("qxzt" * 250_000,),
        tuple(f"{chr(97 + n % 26)}oq{chr(97 + n // 26)}zimu" for n in range(600)),
        ("the " * 10_000,),
        tuple(str(n) for n in range(1_000)),
    ],
    ids=["no words", "dots", "one long word", "made-up words", "one word", "numbers"],
)
def test_hostile_hints_neither_break_nor_hold_up_a_stream(
    engine: Pocketsphinx, hints: tuple[str, ...]
) -> None:
    began = time.thread_time()
    events = events_of(engine, *frames(speech(SOMETHING)), Flush(1), hints=hints)
    assert time.thread_time() - began < 1.5  # 0.3 s, most of it for the sound
    assert len(finals(events)) == 1
    assert not set("(<[+") & set(finals(events)[0].text)


def test_a_stream_with_fresh_hints_is_soon_ready(engine: Pocketsphinx) -> None:
    took = []
    for number in range(5):
        menu = tuple(f"{dish} number {number}" for dish in ("pizza", "zuppa", "tiramisu", "gnocco"))
        began = time.thread_time()
        events_of(engine, Flush(1), hints=menu)
        took.append(time.thread_time() - began)
    assert sorted(took)[2] < 0.5  # 0.05 s


# --- in its places ---
@asynccontextmanager
async def processes(argument: str = "") -> AsyncIterator[SubprocessPool]:
    async with SubprocessPool(SPEC, argument, processes=1) as pool:
        await pool.start()
        yield pool


async def opened(
    pool: EnginePool, *hints: str, key: str = "s", language: str = "en"
) -> EngineStream:
    return await pool.open(Role.STT, key, SttOptions(language, hints))


async def offer(stream: EngineStream, pcm: bytes) -> None:
    for frame in frames(pcm):
        while not stream.offer(frame):
            await stream.room()


async def until_end(stream: EngineStream, last: type[Event] = Final) -> list[Event]:
    events = []
    async with asyncio.timeout(20):
        async for event in stream.events():
            events.append(event)
            if isinstance(event, last | EngineGone):
                break
    return events


async def test_in_a_process_it_hears_the_same_and_leaves_nothing_behind(
    engine: Pocketsphinx,
) -> None:
    async with processes() as pool:
        assert pool.capabilities == SPEC.capabilities
        children = workers()
        streams = [await opened(pool, *hints) for hints in ((), ("queen of clubs",), ())]
        names = (SOMETHING, CLUBS, DIGITS)
        for stream, name in zip(streams, names, strict=True):
            await offer(stream, speech(name))
            stream.flush(7)
        for stream, name, hints in zip(streams, names, ((), ("queen of clubs",), ()), strict=True):
            *before, final = await until_end(stream)
            expected = heard(engine, speech(name), *hints)
            assert isinstance(final, Final)
            assert replace(final, confidence=None) == Final(7, len(speech(name)) // 2, expected)
            assert partials(before)
            await stream.aclose()
        refused = await opened(pool, language="de")
        (gone,) = await until_end(refused)
        assert isinstance(gone, EngineGone)
        assert gone.error.code == "stt_language_not_supported"
        await refused.aclose()
        assert pool.streams == 0
        assert len(children) == 1
    gone_processes, alive = psutil.wait_procs(children, timeout=5)
    assert (len(gone_processes), alive) == (1, [])


async def test_words_come_out_of_a_process_as_they_went_in(engine: Pocketsphinx) -> None:
    items: list[Item] = [*frames(speech(CLUBS), 32_000), Flush(4)]
    (expected,) = finals(events_with(engine, TIMED, *items))
    async with processes() as pool:
        stream = await pool.open(Role.STT, "s", TIMED)
        for frame in frames(speech(CLUBS), 32_000):
            assert stream.offer(frame)
        stream.flush(4)
        *_, final = await until_end(stream)
        assert isinstance(final, Final)
        times = [[(w.text, w.start_ms, w.end_ms) for w in f.words] for f in (final, expected)]
        assert times[0] == times[1]  # how sure it is depends a little on what it heard before
        assert all(word.logprob is not None for word in final.words)
        assert expected.words[0].start_ms >= 2_000
        await stream.aclose()


async def test_a_process_that_is_killed_is_replaced_and_nothing_said_is_lost(
    engine: Pocketsphinx,
) -> None:
    async with processes() as pool:
        bare = await opened(pool)
        kept = await opened(ResilientPool({Role.STT: [Link("pocketsphinx", pool)]}))
        half = len(speech(DIGITS)) // 4 * 2
        await offer(bare, speech(SOMETHING))
        await offer(kept, speech(DIGITS)[:half])
        first = await until_end(kept, Partial)  # it is at work
        (child,) = workers()
        child.kill()
        *_, gone = await until_end(bare)
        assert isinstance(gone, EngineGone)
        assert isinstance(gone.error, EngineLost)
        await bare.aclose(cancel=True)
        for frame in frames(speech(DIGITS)[half:], half // 2):
            assert kept.offer(frame)
        kept.flush(3)
        *_, final = await until_end(kept)
        assert first
        expected = heard(engine, speech(DIGITS))
        assert isinstance(final, Final)
        assert replace(final, confidence=None) == Final(3, len(speech(DIGITS)) // 2, expected)
        await kept.aclose()
        again = await opened(pool)
        await offer(again, speech(SOMETHING))
        again.flush(1)
        assert finals(await until_end(again))[0].text == heard(engine, speech(SOMETHING))
        await again.aclose()
        assert pool.restarts == 1
        assert [process.pid for process in workers()] != [child.pid]


async def test_a_stream_that_is_cancelled_gives_its_place_back_at_once(
    engine: Pocketsphinx,
) -> None:
    pool = InProcessPool(engine)
    streams = [await opened(pool, key=str(n)) for n in range(SPEC.capabilities.max_streams)]
    with pytest.raises(AtCapacity):
        await opened(pool)
    for stream in streams:
        await offer(stream, speech(DIGITS))
        stream.flush(1)
    async with asyncio.timeout(5):
        for stream in streams:
            await stream.aclose(cancel=True)
    assert pool.streams == 0
    again = await opened(pool)
    again.flush(2)
    assert await until_end(again) == [Final(2, 0, "")]
    await again.aclose()
