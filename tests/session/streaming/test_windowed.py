"""Recognisers that take only whole windows, in a whole session: what they heard is what was said, word for word."""

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from bench.reference_stt import ReferenceStt

from duologue.core.capabilities import Role
from duologue.core.errors import EngineLost
from duologue.core.streaming import AudioChunk, GapMarked, Partial, StreamOptions, Transcribed
from duologue.core.words import Word
from duologue.engines.chain import Link
from duologue.engines.pool_inprocess import InProcessPool
from duologue.engines.resilient import ResilientPool
from duologue.ports import StreamOptions as EngineOptions
from tests.support.stream_stage import Ear, loud, quiet, stream_stage

NAMES = "one two three four five six seven eight nine ten no no".split()


def talk(seed: int, length_ms: int) -> list[Word]:
    """Somebody speaks, and pauses now and then."""
    dice = random.Random(seed)
    words, at = [], 300
    while at < length_ms - 1_500:
        end = at + dice.randint(90, 900)
        words.append(Word(dice.choice(NAMES), at, end))
        at = end + dice.choice((40, 60, 90, 150, 300, 1_200 if len(words) % 9 == 0 else 50))
    return words


def sound_of(words: list[Word], length_ms: int) -> bytes:
    sound = bytearray(quiet(length_ms))
    for number, word in enumerate(words):
        pcm = loud(word.end_ms - word.start_ms, number)
        sound[word.start_ms * 32 : word.end_ms * 32] = pcm
    return bytes(sound)


def engine_for(words: list[Word], folder: Path, manner: str = "jitter_ms=60") -> ReferenceStt:
    file = folder / "words.json"
    rows = [{"text": w.text, "start_ms": w.start_ms, "end_ms": w.end_ms} for w in words]
    file.write_text(json.dumps(rows), encoding="utf-8")
    engine = ReferenceStt(f"{file}?{manner}")
    engine.load()
    return engine


@pytest.mark.parametrize("vad", [False, True])
@pytest.mark.parametrize("seed", range(4))
async def test_no_word_is_lost_or_doubled(seed: int, vad: bool, tmp_path: Path) -> None:
    length_ms = 40_000
    words = talk(seed, length_ms)
    async with stream_stage(stt=engine_for(words, tmp_path)) as stage:
        session, _ = await stage.desk.create("", StreamOptions(vad=vad))
        ear = Ear()
        seat = await session.join(ear)
        sound = sound_of(words, length_ms)
        size = 32 * (300 + 211 * seed)
        chunks = [sound[at : at + size] for at in range(0, len(sound), size)]
        for number, chunk in enumerate(chunks):
            seat.ask(AudioChunk(chunk, number, number + 1 == len(chunks), "pcm16"))
        said = " ".join(word.text for word in words)
        await ear.until(lambda: len(said.split()) <= sum(len(t.words) for t in ear.of(Transcribed)))
        stage.later(3)  # what is but silence is stored by and by
        await stage.archive.session(session.id)
        assert session.stats().committed == len(chunks) - 1
        heard = [word.text for part in ear.of(Transcribed) for word in part.words]
        assert heard == [word.text for word in words]
        stored = " ".join(item.text for item in await stage.archive.items(session.id))
        assert stored.split() == heard
        assert session.held_bytes < 64_000


async def test_partials_only_grow_until_the_utterance_is_over(tmp_path: Path) -> None:
    words = [Word(name, 200 + 500 * n, 600 + 500 * n) for n, name in enumerate(NAMES)]
    async with stream_stage(stt=engine_for(words, tmp_path)) as stage:
        session, _ = await stage.desk.create("", StreamOptions(vad=False))
        ear = Ear()
        seat = await session.join(ear)
        sound = sound_of(words, 7_000)
        for number, at in enumerate(range(0, len(sound), 3_200)):
            seat.ask(AudioChunk(sound[at : at + 3_200], number, format="pcm16"))
            await stage.judged()
        partials = ear.of(Partial)
        assert partials[0].end_ms <= 2_000
        told = [part.text for part in partials]
        assert all(later.startswith(earlier) for earlier, later in pairwise(told))
        assert told[-1]


class Moody(ReferenceStt):
    """Breaks the first streams."""

    breaks = 0

    def open(self, key: str, options: EngineOptions) -> Any:
        if self.breaks:
            self.breaks -= 1
            raise EngineLost("moody", "Not today.")
        return super().open(key, options)


@pytest.mark.parametrize(("breaks", "gaps"), [(3, 0), (100, 1)])
async def test_an_engine_that_fails_costs_time_and_no_words(
    breaks: int, gaps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("windowed", "native"):
        monkeypatch.setattr(f"duologue.session.streaming.{module}.wait_s", lambda _tries: 0.0)
    words = [Word("hello", 100, 700)]
    plain = engine_for(words, tmp_path)
    engine = Moody(f"{tmp_path / 'words.json'}?jitter_ms=0")
    engine.load()
    engine.breaks = breaks
    pool = ResilientPool({Role.STT: [Link("moody", InProcessPool(engine))]})
    async with stream_stage(stt=plain, pool=pool) as stage:
        session, _ = await stage.desk.create("", StreamOptions())
        ear = Ear()
        seat = await session.join(ear)
        seat.ask(AudioChunk(sound_of(words, 1_000), 0, is_final=True, format="pcm16"))
        await ear.first(GapMarked if gaps else Transcribed)
        assert len(ear.of(GapMarked)) == gaps
        assert session.stats().committed == 0
        assert session.held_bytes == 0
