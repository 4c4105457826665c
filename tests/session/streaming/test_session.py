"""One streaming session, with the whole machinery and fake engines."""

import pytest

from duologue.core.errors import ClientError, StateConflict
from duologue.core.streaming import (
    AudioChunk,
    ChunkReceived,
    GapMarked,
    Joined,
    Ping,
    Pong,
    SpeechQueued,
    SpeechStopped,
    Spoken,
    StreamOptions,
    StreamProblem,
    TextRequest,
    Transcribed,
)
from tests.support.stream_stage import Ear, loud, quiet, stream_stage


async def test_what_is_said_in_chunks_is_told_stored_and_then_acknowledged() -> None:
    async with stream_stage() as stage:
        session, token = await stage.desk.create("ann", StreamOptions())
        ear = Ear()
        seat = await session.join(ear)
        sound = quiet(500) + loud(1_500) + quiet(1_500)
        for index, at in enumerate(range(0, len(sound), 16_000)):
            seat.ask(AudioChunk(sound[at : at + 16_000], index, format="pcm16"))
        part = await ear.first(Transcribed)
        assert part.ends_utterance
        assert part.text.endswith(" ms")
        assert (part.first_chunk, part.last_chunk) == (0, 5)
        assert 100 <= part.start_ms <= 500
        assert part.number == 1
        assert [r.index for r in ear.of(ChunkReceived)] == list(range(7))
        (stored,) = await stage.archive.items(session.id)
        assert stored.text == part.text
        assert session.stats().committed == part.committed >= 4
        assert token
        assert isinstance(ear.told[0], Joined)


async def test_final_chunks_end_utterances_and_text_is_spoken() -> None:
    async with stream_stage() as stage:
        session, _ = await stage.desk.create("", StreamOptions())
        ear = Ear()
        seat = await session.join(ear)
        seat.ask(AudioChunk(loud(700), 0, is_final=True, format="pcm16"))
        part = await ear.first(Transcribed)
        assert part.ends_utterance
        seat.ask(TextRequest("Hello there. How are you?", request_id="r1"))
        spoken = await ear.first(Spoken)
        assert spoken.is_last
        assert spoken.text == "Hello there. How are you?"
        assert spoken.audio.startswith(b"RIFF")
        assert spoken.request_id == "r1"
        assert ear.of(SpeechQueued)[0].response_id == spoken.response_id
        hits = stage.desk.shared.speech.cache.hits
        seat.ask(TextRequest("Hello there. How are you?"))
        again = await ear.first(Spoken, 2)
        assert again.audio == spoken.audio
        assert stage.desk.shared.speech.cache.hits == hits + 1


async def test_answers_are_made_of_what_was_said() -> None:
    async with stream_stage() as stage:
        session, _ = await stage.desk.create("", StreamOptions(answers=True, whole=False))
        ear = Ear()
        seat = await session.join(ear)
        seat.ask(AudioChunk(loud(700), 0, is_final=True, format="pcm16"))
        spoken = await ear.first(Spoken)
        assert spoken.part == 0
        await ear.until(lambda: any(s.is_last for s in ear.of(Spoken)))
        kinds = [r.kind for r in await stage.archive.items(session.id)]
        assert kinds[0] == "transcript"
        assert set(kinds[1:]) == {"speech"}


async def test_chunks_that_never_come_are_marked_as_a_gap() -> None:
    async with stream_stage() as stage:
        session, _ = await stage.desk.create("", StreamOptions())
        ear = Ear()
        seat = await session.join(ear)
        seat.ask(AudioChunk(loud(1_000), 0, format="pcm16"))
        seat.ask(AudioChunk(loud(1_000), 2, format="pcm16"))
        assert not ear.of(GapMarked)
        stage.later(6)
        seat.ask(AudioChunk(b"", 3, is_final=True))
        gap = await ear.first(GapMarked)
        assert (gap.first_chunk, gap.last_chunk, gap.reason) == (1, 1, "chunks_missing")
        assert (gap.start_ms, gap.end_ms) == (1_000, 2_000)
        parts = [await ear.first(Transcribed, n) for n in (1, 2)]
        assert parts[0].end_ms <= 1_000
        assert parts[1].start_ms >= 2_000


async def test_who_comes_back_hears_what_was_missed() -> None:
    async with stream_stage() as stage:
        session, token = await stage.desk.create("", StreamOptions(needs_token=True))
        first = Ear()
        with pytest.raises(StateConflict, match="token"):
            await session.join(first)
        with pytest.raises(StateConflict, match="token"):
            await session.join(first, token="wrong")
        seat = await session.join(first, token=token)
        for number in range(3):
            seat.ask(AudioChunk(loud(400, number), number, is_final=True, format="pcm16"))
            await first.first(Transcribed, number + 1)
        seat.leave()
        second = Ear()
        await session.join(second, token=token, after=1)
        joined = second.of(Joined)[0]
        assert joined.resumed
        assert joined.complete
        assert joined.next_chunk == 3
        assert [t.number for t in second.of(Transcribed)] == [2, 3]


async def test_a_session_is_brought_back_from_the_store() -> None:
    async with stream_stage() as stage:
        session, _ = await stage.desk.create("ann", StreamOptions(language="en"))
        ear = Ear()
        seat = await session.join(ear)
        seat.ask(AudioChunk(loud(400), 0, is_final=True, format="pcm16"))
        told = await ear.first(Transcribed)
        seat.ask(AudioChunk(loud(300), 1, format="pcm16"))  # of which nothing comes any more
        assert session.stats().received == 1
        async with stream_stage(archive=stage.archive) as again:
            with pytest.raises(StateConflict) as caught:
                await again.desk.find(session.id, "bob")
            assert caught.value.code == "session_not_found"
            back = await again.desk.find(session.id, "ann")
            assert back.options == session.options
            later = Ear()
            seat = await back.join(later, after=0)
            joined = later.of(Joined)[0]
            assert (joined.next_chunk, joined.resumed) == (1, True)
            (known,) = later.of(Transcribed)
            assert known == told
            seat.ask(AudioChunk(loud(300), 1, is_final=True, format="pcm16"))
            new = await later.first(Transcribed, 2)
            assert new.number == 2
            assert new.start_ms >= 400


async def test_a_client_is_told_what_it_did_wrong_and_lives_on() -> None:
    async with stream_stage() as stage:
        session, _ = await stage.desk.create("", StreamOptions())
        ear, other = Ear(), Ear()
        seat = await session.join(ear)
        await session.join(other)
        seat.ask(AudioChunk(bytes(2**20 + 2), 0, format="pcm16"))
        seat.ask(TextRequest("   ", request_id="r7"))
        seat.ask(Ping())
        problems = ear.of(StreamProblem)
        assert [p.error.code for p in problems] == ["chunk_too_large", "text_empty"]
        assert problems[0].chunk_index == 0
        assert problems[1].request_id == "r7"
        assert ear.of(Pong)
        assert len(other.told) == 1
        with pytest.raises(ClientError):
            await session.receive(AudioChunk(bytes(2**20 + 2), 0, format="pcm16"))


async def test_sessions_end_when_they_are_idle_or_too_long() -> None:
    async with stream_stage() as stage:
        idle, _ = await stage.desk.create("", StreamOptions())
        for _ in range(3):
            stage.later(1_800)
            await stage.judged()
        assert idle.ended == "too_long"
        session, _ = await stage.desk.create("", StreamOptions())
        stage.later(3_601)
        await stage.judged()
        assert session.ended in ("idle", "too_long")
        with pytest.raises(StateConflict) as caught:
            await stage.desk.find(session.id, "")
        assert caught.value.code == "session_ended"


async def test_a_response_that_a_crash_broke_off_is_marked_and_told_to_be_over() -> None:
    async with stream_stage(tts="tts_ms=20") as stage:
        session, _ = await stage.desk.create("", StreamOptions(whole=False))
        ear = Ear()
        seat = await session.join(ear)
        seat.ask(TextRequest("One sentence. And another one. And the last of them all."))
        part = await ear.first(Spoken)
        stored = (await stage.archive.items(session.id))[:1]  # as if it had died here
        assert not stored[0].body["is_last"]
        await stage.archive.erase(session.id)
        await stage.archive.write(session.standing.record(session.options), *stored)
        async with stream_stage(archive=stage.archive) as again:
            later = Ear()
            await (await again.desk.find(session.id, "")).join(later, after=0)
            (told,) = later.of(Spoken)
            stopped = later.of(SpeechStopped)[0]
            assert (told.text, stopped.heard, stopped.reason) == (part.text, part.text, "failed")
            assert stopped.heard_ms == part.duration_ms
            (item,) = await again.archive.items(session.id)
            assert item.status == "incomplete"
