"""A session that answers, is stopped, changed and filled: what its client may do to it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from duologue.core.errors import AtCapacity, ClientError, EngineLost, StateConflict
from duologue.core.streaming import (
    AudioChunk,
    Configure,
    Configured,
    GapMarked,
    PlayedSoFar,
    Renew,
    Renewed,
    Reset,
    ResetDone,
    SpeechStopped,
    Spoken,
    StopSpeaking,
    StreamEnded,
    StreamOptions,
    StreamProblem,
    TextRequest,
    Transcribed,
)
from duologue.engines.fakes import FakeStt
from duologue.ports import Delta, Prompt, SttOptions, TextDelta
from duologue.ports import StreamOptions as EngineOptions
from duologue.session.streaming.shared import Bounds
from tests.support.stream_stage import Ear, loud, quiet, stream_stage

ANSWERING = StreamOptions(answers=True, whole=False)


async def test_speech_over_an_answer_keeps_of_it_what_was_heard() -> None:
    async with stream_stage(stt=FakeStt("stt_partial_ms=200"), llm="llm_tokens=40") as stage:
        session, _ = await stage.desk.create("", ANSWERING)
        ear = Ear()
        seat = await session.join(ear)
        seat.ask(AudioChunk(loud(700), 0, is_final=True, format="pcm16"))
        await ear.until(lambda: any(part.is_last for part in ear.of(Spoken)))
        answer = ear.of(Spoken)[-1].response_id
        seat.ask(PlayedSoFar(answer, 600))
        seat.ask(AudioChunk(loud(600, 1), 1, format="pcm16"))
        stopped = await ear.first(SpeechStopped)
        assert (stopped.response_id, stopped.reason, stopped.heard_ms) == (
            answer,
            "interrupted",
            600,
        )
        told = "".join(part.text for part in ear.of(Spoken))
        assert 0 < len(stopped.heard) < len(told)
        assert told.startswith(stopped.heard)
        stored = [i for i in await stage.archive.items(session.id) if i.kind == "speech"]
        assert "".join(item.text for item in stored).rstrip() == stopped.heard
        assert stored[-1].status == "incomplete"


async def test_what_waits_to_be_said_can_be_stopped_and_is_bounded() -> None:
    async with stream_stage(tts="tts_ms=60000") as stage:
        session, _ = await stage.desk.create("", StreamOptions())
        ear = Ear()
        seat = await session.join(ear)
        for number in range(18):
            seat.ask(TextRequest(f"text {number}"))
        await ear.first(StreamProblem)
        assert ear.of(StreamProblem)[0].error.code == "too_many_texts"
        assert session.stats().pending_responses >= 16
        seat.ask(StopSpeaking())
        assert len(ear.of(SpeechStopped)) >= 16
        assert session.stats().pending_responses == 0
        with pytest.raises(ClientError):
            await session.ask_text(TextRequest("x" * 10_001))


async def test_a_reset_begins_anew_and_the_store_keeps_the_old() -> None:
    async with stream_stage() as stage:
        session, _ = await stage.desk.create("", StreamOptions())
        ear = Ear()
        seat = await session.join(ear)
        seat.ask(AudioChunk(loud(700), 0, is_final=True, format="pcm16"))
        old = await ear.first(Transcribed)
        seat.ask(AudioChunk(loud(300), 1, format="pcm16"))
        seat.ask(Reset())
        assert ear.of(ResetDone)
        seat.ask(AudioChunk(loud(500, 1), 0, is_final=True, format="pcm16"))
        new = await ear.first(Transcribed, 2)
        assert (new.number, new.first_chunk) == (2, 0)
        assert new.start_ms >= old.end_ms + 300
        assert len(await stage.archive.items(session.id)) == 2


async def test_settings_change_from_the_next_utterance_on() -> None:
    languages: list[str] = []

    class Listener(FakeStt):
        def open(self, key: str, options: EngineOptions) -> Any:
            assert isinstance(options, SttOptions)
            languages.append(options.language)
            return super().open(key, options)

    async with stream_stage(stt=Listener()) as stage:
        session, _ = await stage.desk.create("", StreamOptions(language="en"))
        ear = Ear()
        seat = await session.join(ear)
        seat.ask(AudioChunk(loud(400), 0, is_final=True, format="pcm16"))
        await ear.first(Transcribed)
        seat.ask(Configure(language="zh", vad=False))
        assert ear.of(Configured)[0].options.language == "zh"
        seat.ask(AudioChunk(loud(400), 1, is_final=True, format="pcm16"))
        assert (await ear.first(Transcribed, 2)).language == "zh"
        assert languages == ["en", "zh"]
        record = await stage.archive.session(session.id)
        assert record is not None
        assert record.settings["language"] == "zh"


async def test_a_full_buffer_refuses_chunks_and_takes_them_again_later() -> None:
    class Deaf(FakeStt):
        is_deaf = True

        def open(self, key: str, options: EngineOptions) -> Any:
            if self.is_deaf:
                raise AtCapacity("full", "All streams are taken.")
            return super().open(key, options)

    engine = Deaf()
    async with stream_stage(stt=engine, bounds=Bounds(buffer_bytes=100_000)) as stage:
        session, _ = await stage.desk.create("", StreamOptions())
        ear = Ear()
        seat = await session.join(ear)
        index = 0
        while not ear.of(StreamProblem):
            seat.ask(AudioChunk(loud(500, index), index, format="pcm16"))
            index += 1
        problem = ear.of(StreamProblem)[0]
        assert (problem.error.code, problem.chunk_index) == ("buffer_full", index - 1)
        assert session.held_bytes <= 100_000
        with pytest.raises(AtCapacity):
            await session.receive(AudioChunk(loud(500), index - 1, format="pcm16"))
        engine.is_deaf = False
        seat.ask(AudioChunk(b"", index - 1, is_final=True))
        part = await ear.first(Transcribed)
        assert part.text.endswith(f"{(index - 1) * 500} ms")


async def test_broken_voices_are_told_and_the_session_lives_on() -> None:
    async with stream_stage(tts="fail=1") as stage:
        session, _ = await stage.desk.create("", StreamOptions())
        ear = Ear()
        seat = await session.join(ear)
        seat.ask(TextRequest("Hello.", request_id="r"))
        problem = await ear.first(StreamProblem)
        assert problem.request_id == "r"
        assert isinstance(problem.error, EngineLost)
        assert (await ear.first(SpeechStopped)).reason == "failed"
        seat.ask(AudioChunk(loud(400), 0, is_final=True, format="pcm16"))
        await ear.first(Transcribed)


async def test_sessions_are_renewed_ended_erased_and_counted() -> None:
    async with stream_stage(bounds=Bounds(sessions=2)) as stage:
        desk = stage.desk
        first, _ = await desk.create("ann", StreamOptions(records=True))
        second, _ = await desk.create("bob", StreamOptions())
        with pytest.raises(AtCapacity) as caught:
            await desk.create("ann", StreamOptions())
        assert caught.value.code == "session_limit_reached"
        assert [s.id for s in desk.live("ann")] == [first.id]
        ear = Ear()
        seat = await first.join(ear)
        seat.ask(AudioChunk(quiet(400) + loud(400), 0, is_final=True, format="pcm16"))
        await ear.first(Transcribed)
        stage.later(1_800)
        seat.ask(Renew())
        assert ear.of(Renewed)[0].expires_s == stage.wall.now + 3_600
        stage.later(1_801)
        await stage.judged()
        assert second.ended in ("too_long", "idle")
        assert first.ended is None
        for wrong in ((first.id, "bob"), ("ss_none", "ann")):
            with pytest.raises(StateConflict):
                await desk.end(*wrong)
        assert len(await desk.records(first.id, "ann")) == 1
        await desk.end(first.id, "ann")
        assert isinstance(ear.told[-1], StreamEnded)
        assert await stage.archive.sounds(first.id)
        assert len(await desk.records(first.id, "ann")) == 1
        with pytest.raises(StateConflict):
            await desk.end(first.id, "ann")
        await desk.erase(first.id, "ann")
        with pytest.raises(StateConflict):
            await desk.records(first.id, "ann")
        desk.set_workers(transcription=3, tts=4)
        about = desk.overview()
        assert (about.total_sessions, about.active) == (2, ())
        assert (about.transcription.number, about.tts.number) == (3, 4)
        desk.is_open = False
        with pytest.raises(AtCapacity, match="loaded"):
            await desk.create("", StreamOptions())


class Clerk:
    """Answers, and sums up what is not shown any more."""

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []

    async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        self.prompts.append(prompt)
        yield TextDelta("Noted: bees." if prompt.purpose == "summary" else "So it is. " * 12)


async def test_a_long_conversation_is_shown_as_a_summary_and_its_latest_turns() -> None:
    clerk = Clerk()
    async with stream_stage(responder=clerk, context_tokens=600) as stage:
        session, _ = await stage.desk.create("", StreamOptions(speaks=False, answers=True))
        ear = Ear()
        seat = await session.join(ear)
        for number in range(30):
            seat.ask(TextRequest(f"Number {number}: " + "bees " * 20, answers=True))
            await ear.first(Spoken, number + 1)
            await stage.judged()
        answers = [p for p in clerk.prompts if p.purpose == "answer"]
        sizes = [sum(len(str(item)) for item in p.items) for p in answers]
        assert max(sizes[10:]) < 2 * max(sizes[:6])
        assert "Noted: bees." in answers[-1].options.instructions
        assert "Number 29" in str(answers[-1].items[-1])
        assert len(await stage.archive.items(session.id)) == 60


async def test_what_was_sent_last_is_transcribed_before_a_session_ends() -> None:
    async with stream_stage(stt=FakeStt("stt_ms=60")) as stage:
        session, _ = await stage.desk.create("", StreamOptions())
        ear = Ear()
        seat = await session.join(ear)
        seat.ask(AudioChunk(loud(400), 0, format="pcm16"))
        seat.ask(AudioChunk(loud(300), 2, format="pcm16"))  # the one before will not come any more
        await stage.desk.end(session.id, "")
        kinds = [type(n) for n in ear.told if isinstance(n, Transcribed | GapMarked | StreamEnded)]
        assert kinds == [Transcribed, GapMarked, Transcribed, StreamEnded]
        seat.ask(AudioChunk(loud(300), 3, format="pcm16"))
        assert isinstance(ear.told[-1], StreamEnded)
        assert len(await stage.archive.items(session.id)) == 3
