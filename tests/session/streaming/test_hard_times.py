"""What a reviewer feared for: nothing is lost, told too early, or broken for others, when things go wrong."""

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from bench.reference_stt import ReferenceStt

from duologue.core.capabilities import Role
from duologue.core.errors import AtCapacity, EngineLost, OurError, StateConflict
from duologue.core.streaming import (
    AudioChunk,
    GapMarked,
    Joined,
    Partial,
    Reset,
    Spoken,
    StopSpeaking,
    StreamEnded,
    StreamOptions,
    TextRequest,
    Transcribed,
)
from duologue.core.words import Word
from duologue.engines.chain import Link
from duologue.engines.fakes import FakeStt
from duologue.engines.pool_inprocess import InProcessPool
from duologue.engines.resilient import ResilientPool
from duologue.ports import StreamOptions as EngineOptions
from duologue.session.streaming.shared import Bounds
from tests.session.streaming.test_windowed import engine_for, sound_of
from tests.support.stream_stage import Ear, StreamStage, loud, quiet, stream_stage


def flac(pcm: bytes) -> bytes:
    """A file that is decoded apart."""
    out = io.BytesIO()
    with av.open(out, "w", format="flac") as file:
        track = file.add_stream("flac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.frombuffer(pcm, "<i2")[None], "s16", "mono")
        frame.rate = 16_000
        file.mux(track.encode(frame))
        file.mux(track.encode(None))
    return out.getvalue()


async def test_a_file_that_is_still_decoded_when_its_session_ends_is_transcribed() -> None:
    for is_final in (True, False):
        async with stream_stage() as stage:
            session, _ = await stage.desk.create("", StreamOptions())
            await session.receive(AudioChunk(flac(loud(900)), 0, is_final))
            await stage.desk.end(session.id, "")
            (item,) = await stage.archive.items(session.id)
            assert item.kind == "transcript"


class Flaky(ReferenceStt):
    """Fails from some window on."""

    good = 10_000

    def open(self, key: str, options: EngineOptions) -> Any:
        self.good -= 1
        if self.good < 0:
            raise EngineLost("flaky", "Not any more.")
        return super().open(key, options)


async def test_words_before_a_gap_are_told_and_stored_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duologue.session.streaming.windowed.wait_s", lambda _tries: 0.0)
    words = [Word(f"w{n}", 100 + 400 * n, 420 + 400 * n) for n in range(20)]
    engine_for(words, tmp_path)
    engine = Flaky(f"{tmp_path / 'words.json'}?jitter_ms=0")
    engine.load()
    pool = ResilientPool({Role.STT: [Link("flaky", InProcessPool(engine))]})
    async with stream_stage(stt=engine, pool=pool) as stage:
        session, _ = await stage.desk.create("", StreamOptions())
        ear = Ear()
        seat = await session.join(ear)
        sound = sound_of(words, 8_200)
        seat.ask(AudioChunk(sound[: 32 * 4_500], 0, format="pcm16"))
        await ear.first(Partial)
        await stage.judged()
        engine.good = 0
        seat.ask(AudioChunk(sound[32 * 4_500 :], 1, is_final=True, format="pcm16"))
        await ear.first(GapMarked)
        told = [n for n in ear.told if isinstance(n, Transcribed | GapMarked)]
        assert isinstance(told[-1], GapMarked)
        heard = [w.text for n in told if isinstance(n, Transcribed) for w in n.words]
        assert heard
        assert heard == [w.text for w in words[: len(heard)]]
        items = await stage.archive.items(session.id)
        assert [i.kind for i in items] == ["transcript"] * (len(told) - 1) + ["gap"]


class Full(FakeStt):
    """All its places are taken, for so many tries."""

    tries = 12

    def open(self, key: str, options: EngineOptions) -> Any:
        self.tries -= 1
        if self.tries >= 0:
            raise AtCapacity("stt_at_capacity", "All streams are taken.")
        return super().open(key, options)


async def test_an_engine_that_is_full_is_waited_for_however_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("windowed", "native"):
        monkeypatch.setattr(f"duologue.session.streaming.{module}.AGAIN_S", 0.0)
    async with stream_stage(stt=Full()) as stage:
        session, _ = await stage.desk.create("", StreamOptions())
        ear = Ear()
        seat = await session.join(ear)
        seat.ask(AudioChunk(loud(500), 0, is_final=True, format="pcm16"))
        await ear.first(Transcribed)
        assert not ear.of(GapMarked)


async def test_utterances_that_had_to_wait_stay_utterances(tmp_path: Path) -> None:
    words = [Word(f"w{n}", 100 + 900 * n, 700 + 900 * n) for n in range(3)]
    async with stream_stage(stt=engine_for(words, tmp_path, "jitter_ms=0")) as stage:
        session, _ = await stage.desk.create("", StreamOptions())
        ear = Ear()
        seat = await session.join(ear)
        sound = sound_of(words, 2_700)
        for number in range(3):
            chunk = sound[number * 28_800 : (number + 1) * 28_800]
            seat.ask(AudioChunk(chunk, number, is_final=True, format="pcm16"))
        await ear.first(Transcribed, 3)
        assert [(t.text, t.ends_utterance) for t in ear.of(Transcribed)] == [
            (f"w{n}", True) for n in range(3)
        ]


class Broken:
    """A store that fails for a while."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.is_broken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def write(self, *changes: Any) -> Any:
        if not self.is_broken:
            return self._real.write(*changes)
        import asyncio

        future = asyncio.get_running_loop().create_future()
        future.set_exception(OurError("store_failed", "The disk is full."))
        future.exception()
        return future


async def test_what_could_not_be_stored_is_not_called_so_and_goes_with_the_next_write() -> None:
    async with stream_stage() as outer:
        store = Broken(outer.archive)
        async with stream_stage(archive=store) as stage:
            session, _ = await stage.desk.create("", StreamOptions())
            ear = Ear()
            seat = await session.join(ear)
            store.is_broken = True
            seat.ask(AudioChunk(loud(400), 0, is_final=True, format="pcm16"))
            assert (await ear.first(Transcribed)).committed == -1
            store.is_broken = False
            seat.ask(AudioChunk(loud(400, 1), 1, is_final=True, format="pcm16"))
            assert (await ear.first(Transcribed, 2)).committed == 1
            assert len(await stage.archive.items(session.id)) == 2


async def restored(stage: StreamStage, session_id: str) -> Any:
    ear = Ear()
    session = await stage.desk.find(session_id, "")
    await session.join(ear)
    return ear.of(Joined)[0], session


async def test_a_place_in_a_chunk_outlasts_two_restarts_and_a_reset_forgets_it() -> None:
    async with stream_stage() as first:
        session, _ = await first.desk.create("", StreamOptions())
        ear = Ear()
        seat = await session.join(ear)
        talk = loud(1_500) + quiet(1_200) + loud(2_000)
        seat.ask(AudioChunk(talk, 0, format="pcm16"))
        await ear.first(Transcribed)
        await first.judged()
        async with stream_stage(archive=first.archive) as second:
            joined, session = await restored(second, session.id)
            assert joined.next_chunk == 0
            assert joined.next_chunk_ms > 1_000
            second.later(40)
            async with stream_stage(archive=first.archive) as third:
                again, session = await restored(third, session.id)
                assert (again.next_chunk, again.next_chunk_ms) == (0, joined.next_chunk_ms)
                session.ask(Reset())
                await session.receive(AudioChunk(loud(800), 0, is_final=True, format="pcm16"))
                assert session.stats().heard_s > 0
                await third.judged()
                (_, item) = await third.archive.items(session.id)
                assert item.text.endswith("800 ms")


async def test_a_session_that_breaks_or_ends_costs_no_other_anything() -> None:
    async with stream_stage(bounds=Bounds(seats=2)) as stage:
        broken, _ = await stage.desk.create("", StreamOptions())
        other, _ = await stage.desk.create("", StreamOptions())

        def fails(_now_ms: float) -> None:
            raise ZeroDivisionError

        broken.tick = fails  # type: ignore[assignment,method-assign]
        stage.later(1)
        assert broken.ended == "failed"
        with pytest.raises(StateConflict):
            await broken.receive(AudioChunk(loud(100), 0, format="pcm16"))
        with pytest.raises(StateConflict):
            await broken.join(Ear())

        def cries(notice: object) -> None:
            if not isinstance(notice, Joined):
                raise ZeroDivisionError

        await other.join(cries)
        ear = Ear()
        seat = await other.join(ear)
        seat.ask(AudioChunk(loud(400), 0, is_final=True, format="pcm16"))
        await ear.first(Transcribed)
        assert other.stats().more["listeners"] == 1
        slots = len(stage.desk.shared.hearing.vad.slots)  # type: ignore[attr-defined]
        stage.desk.is_open = False
        with pytest.raises(AtCapacity):
            await stage.desk.create("", StreamOptions())
        assert len(stage.desk.shared.hearing.vad.slots) == slots  # type: ignore[attr-defined]


async def test_who_missed_a_stopped_response_is_told_what_was_heard_of_it() -> None:
    async with stream_stage() as stage:
        session, _ = await stage.desk.create("", StreamOptions())
        ear = Ear()
        seat = await session.join(ear)
        seat.ask(TextRequest("One two three four five six seven eight."))
        await ear.first(Spoken)
        stage.clock.now += 900
        seat.ask(StopSpeaking())
        late = Ear()
        await session.join(late, after=0)
        (told,) = late.of(Spoken)
        assert 0 < len(told.text) < 20
        assert not told.audio
        await stage.desk.end(session.id, "")
        assert isinstance(late.told[-1], StreamEnded)
