"""Answers beside the conversation: parallel to it, unpaced, leaving no trace in it."""

import pytest

from duologue.core.audio import AudioFormat
from duologue.core.commands import CancelReply, CreateItem, CreateReply, SetOptions
from duologue.core.context import Truncation
from duologue.core.conversation import ItemReference, Message, Part
from duologue.core.notices import (
    OutputBegan,
    OutputEnded,
    PlaybackBegan,
    Problem,
    ReplyBegan,
    ReplyEnded,
    TextGrew,
)
from duologue.core.options import ReplyOptions, SessionOptions
from duologue.core.turn import Floor
from duologue.engines.fakes import FakeLlm, FakeTts
from duologue.session.agent_side import MAX_ASIDES
from duologue.session.aside import MAX_UNSENT_BYTES
from tests.support.stage import stage

ASIDE = ReplyOptions(out_of_band=True, metadata={"topic": "x"})


def note(number: int, text: str) -> Message:
    return Message(f"n{number}", "user", (Part("input_text", text),))


async def test_it_comes_at_once_and_whole_while_another_answer_is_spoken() -> None:
    async with stage(tts=FakeTts("tts_s=30")) as s:
        await s.turn()
        assert s.session.floor is Floor.AGENT
        items = len(s.session.conversation)
        before = s.ear.sound_ms()
        await s.ask(CreateReply, ASIDE)
        aside = s.ear.last(ReplyEnded).reply
        assert (aside.status, aside.options.metadata) == ("completed", {"topic": "x"})
        assert abs(s.ear.sound_ms() - before - 30_000) < 1  # not paced: no time has passed
        assert len(s.session.conversation) == items
        assert s.session.floor is Floor.AGENT
        assert [n.aside for n in s.ear.of(OutputBegan, OutputEnded)] == [False, True, True]
        assert len(s.ear.of(PlaybackBegan)) == 1
        await s.quiet(31_000)
        assert [r.reply.status for r in s.ear.of(ReplyEnded)] == ["completed", "completed"]
        assert len(s.ear.of(ReplyEnded)[1].reply.output[0].text) > 0


async def test_it_answers_what_it_is_given_and_nothing_else() -> None:
    async with stage() as s:
        await s.ask(CreateItem, note(1, "the first"))
        await s.ask(CreateItem, note(2, "the second"))

        for context, heard in (
            ((ItemReference("n1"),), "the first"),
            ((note(3, "a third"),), "a third"),
            ((), "nothing"),
            (None, "the second"),
        ):
            options = ReplyOptions(out_of_band=True, spoken=False, context=context)
            await s.ask(CreateReply, options)
            assert f"You said {heard}" in "".join(t.delta for t in s.ear.of(TextGrew))
            s.ear.told.clear()


async def test_an_answer_of_the_conversation_may_have_a_context_of_its_own() -> None:
    async with stage() as s:
        await s.ask(CreateItem, note(1, "the first"))
        await s.ask(CreateReply, ReplyOptions(spoken=False, context=(note(3, "a third"),)))
        assert "You said a third" in s.ear.last(ReplyEnded).reply.output[0].text
        assert next(iter(s.session.conversation)).id == "n1"
        assert len(s.session.conversation) == 2  # the answer joined; its context did not


async def test_a_reference_to_nothing_is_refused() -> None:
    async with stage() as s:
        ask = await s.ask(CreateReply, ReplyOptions(context=(ItemReference("gone"),)))
        problem = s.ear.last(Problem)
        assert (problem.ask, problem.error.code) == (ask, "item_retrieve_invalid_item_id")
        assert not s.ear.of(ReplyBegan)


async def test_it_can_be_cancelled_by_its_id_and_only_so() -> None:
    async with stage(llm=FakeLlm("llm_ms=10000")) as s:
        await s.ask(CreateReply, ASIDE)
        await s.ask(CancelReply, None)
        assert s.ear.last(Problem).error.code == "response_cancel_not_active"
        await s.ask(CancelReply, s.ear.last(ReplyBegan).reply.id)
        ended = s.ear.last(ReplyEnded).reply
        assert (ended.status, ended.reason) == ("cancelled", "client_cancelled")


async def test_there_may_be_only_so_many_at_a_time() -> None:
    async with stage(llm=FakeLlm("llm_ms=10000")) as s:
        for _ in range(MAX_ASIDES):
            await s.ask(CreateReply, ASIDE)
        assert not s.ear.of(Problem)
        await s.ask(CreateReply, ASIDE)
        assert s.ear.last(Problem).error.code == "too_many_responses"
        await s.ask(CancelReply, s.ear.of(ReplyBegan)[0].reply.id)
        await s.ask(CreateReply, ASIDE)
        assert len(s.ear.of(Problem)) == 1


async def test_a_client_that_does_not_read_makes_it_wait() -> None:
    async with stage(tts=FakeTts("tts_s=30")) as s:
        s.ear.waiting = MAX_UNSENT_BYTES + 1
        await s.ask(CreateReply, ASIDE)
        await s.quiet(1_000)
        assert 0 < s.ear.sound_ms() < 2_000
        assert not s.ear.of(ReplyEnded)
        s.ear.waiting = 0
        await s.quiet(100)
        assert abs(s.ear.sound_ms() - 30_000) < 1
        assert s.ear.last(ReplyEnded).reply.status == "completed"


@pytest.mark.parametrize(("codec", "frame_bytes"), [("pcm", 4_800), ("opus", 960)])
async def test_its_frames_are_long_unless_a_frame_is_a_packet(codec: str, frame_bytes: int) -> None:
    fmt = AudioFormat(24_000, codec)  # type: ignore[arg-type]
    async with stage(tts=FakeTts("tts_s=1")) as s:
        await s.ask(CreateReply, ReplyOptions(out_of_band=True, format=fmt))
        assert {len(pcm) for _, _, pcm in s.ear.frames} == {frame_bytes}


async def test_a_transcription_session_makes_no_answers() -> None:
    async with stage(SessionOptions(answers=False)) as s:
        await s.ask(CreateReply, ASIDE)
        await s.ask(CreateReply, ReplyOptions())
        assert {p.error.code for p in s.ear.of(Problem)} == {"response_not_supported"}
        assert not s.ear.of(ReplyBegan)


async def test_a_conversation_too_long_is_cut_or_refused_as_the_client_wants() -> None:
    async with stage() as s:
        for number in range(20):
            await s.ask(CreateItem, note(number, f"number {number} " + "x" * 400))
        few = Truncation(limit_tokens=250)
        await s.ask(SetOptions, SessionOptions(truncation=few))
        await s.ask(CreateReply, ReplyOptions(spoken=False))
        assert "You said number 19" in s.ear.last(ReplyEnded).reply.output[0].text
        assert s.ear.last(ReplyEnded).reply.usage.input_text < 500
        none = Truncation("disabled", limit_tokens=250)
        await s.ask(SetOptions, SessionOptions(truncation=none))
        await s.ask(CreateReply, ReplyOptions(spoken=False))
        failed = s.ear.last(ReplyEnded).reply
        assert (failed.status, failed.error.code) == ("failed", "context_length_exceeded")
        await s.ask(SetOptions, SessionOptions())
        await s.turn()
        assert s.ear.last(ReplyBegan).reply.status == "in_progress"  # and the session lives on
