"""What remains of an answer that was not heard to its end, and announcements that give way."""

import pytest

from duologue.core.commands import CancelReply, ClearOutput, CreateReply, TruncateItem
from duologue.core.conversation import Message, Status
from duologue.core.notices import (
    OutputBegan,
    OutputEnded,
    Problem,
    ReplyBegan,
    ReplyEnded,
    TextGrew,
)
from duologue.core.options import ReplyOptions, SessionOptions
from duologue.core.policy import TurnPolicy
from duologue.core.turn import Floor
from duologue.engines.fakes import FakeLlm, FakeTts
from tests.support.stage import Stage, stage


def kept(s: Stage) -> tuple[str, Status]:
    """The latest answer, as the conversation has it."""
    item = s.session.conversation.get(s.ear.last(OutputBegan).item.id)
    assert isinstance(item, Message)
    return item.text, item.status


async def barge_in(s: Stage) -> None:
    await s.speak(800)


async def cancel(s: Stage) -> None:
    await s.ask(CancelReply, None)


async def clear_output(s: Stage) -> None:
    await s.ask(ClearOutput)


async def truncate(s: Stage) -> None:
    await s.ask(TruncateItem, s.ear.last(OutputBegan).item.id, 0, 300)
    await s.quiet(4_000)


@pytest.mark.parametrize("how", [barge_in, cancel, clear_output, truncate])
async def test_an_answer_that_is_broken_off_while_it_is_sent_is_marked(how: object) -> None:
    async with stage(tts=FakeTts("tts_s=4")) as s:
        await s.turn()
        await s.quiet(1_500)
        await how(s)  # type: ignore[operator]
        text, status = kept(s)
        told = "".join(n.delta for n in s.ear.of(TextGrew))
        assert status == "incomplete"
        assert told.startswith(text)
        assert 0 < len(text) < len(told)


@pytest.mark.parametrize("how", [barge_in, clear_output])
async def test_and_while_the_last_of_it_is_heard(how: object) -> None:
    options = SessionOptions(turn=TurnPolicy(barge_in_ms=60))
    async with stage(options, tts=FakeTts("tts_s=1")) as s:
        s.session.mouth.is_obeyed = True  # the listener stands still while it is held
        await s.turn(quiet_ms=540)
        while not s.ear.of(ReplyEnded):
            await s.quiet(20)
        assert s.ear.last(OutputEnded).item.status == "completed"
        await how(s)  # type: ignore[operator]
        assert kept(s)[1] == "incomplete"


async def test_what_was_heard_to_its_end_is_whole_even_if_the_client_says_so_itself() -> None:
    async with stage(tts=FakeTts("tts_s=1")) as s:
        await s.turn(quiet_ms=540)
        while not s.ear.of(ReplyEnded):
            await s.quiet(20)
        await s.ask(TruncateItem, s.ear.last(OutputBegan).item.id, 0, 60_000)
        await s.quiet(3_000)
        assert kept(s) == ("".join(n.delta for n in s.ear.of(TextGrew)), "completed")


async def test_the_words_of_an_answer_that_the_model_ended_early_were_all_said() -> None:
    options = SessionOptions(reply=ReplyOptions(max_output_tokens=6))
    async with stage(options, llm=FakeLlm("llm_tokens=12"), tts=FakeTts("tts_s=0.4")) as s:
        await s.turn()
        await s.quiet(4_000)
        text, status = kept(s)
        assert status == "incomplete"
        assert text == "".join(n.delta for n in s.ear.of(TextGrew))


# --- announcements that give way ---
@pytest.mark.parametrize("after_ms", [0, 200])
async def test_what_gives_way_is_broken_off_for_the_answer_that_the_client_asks_for(
    after_ms: int,
) -> None:
    async with stage(tts=FakeTts("tts_s=3")) as s:
        s.session._agent.say("One moment.", gives_way=True)
        await s.quiet(after_ms)
        await s.ask(CreateReply, ReplyOptions(metadata={"topic": "x"}))
        await s.quiet(100)
        assert not s.ear.of(Problem)
        order = [type(n).__name__ for n in s.ear.of(ReplyBegan, ReplyEnded)]
        assert order == ["ReplyBegan", "ReplyEnded", "ReplyBegan"]
        assert s.ear.of(ReplyEnded)[0].reply.status == "cancelled"
        assert s.ear.last(ReplyBegan).reply.options.metadata == {"topic": "x"}
        await s.ask(CreateReply, ReplyOptions())  # an answer does not
        assert s.ear.last(Problem).error.code == "conversation_already_has_active_response"
        await s.quiet(4_000)
        assert s.ear.last(ReplyEnded).reply.status == "completed"


async def test_the_others_do_not_give_way() -> None:
    async with stage(tts=FakeTts("tts_s=3")) as s:
        s.session._agent.say("One moment.", gives_way=True)
        await s.quiet(4_000)
        s.session._agent.say("Time is up.")
        await s.quiet(200)
        ask = await s.ask(CreateReply, ReplyOptions())
        problem = s.ear.last(Problem)
        assert (problem.ask, problem.error.code) == (
            ask,
            "conversation_already_has_active_response",
        )


async def test_what_gives_way_to_a_client_is_interrupted_by_the_user_like_anything() -> None:
    async with stage(tts=FakeTts("tts_s=3")) as s:
        s.session._agent.say("One moment.", gives_way=True)
        await s.quiet(600)
        await s.speak(100)
        assert s.session.floor is Floor.OVERLAP
        await s.ask(CreateReply, ReplyOptions())
        assert not s.ear.of(Problem)
        await s.quiet(900)
        assert [r.reply.status for r in s.ear.of(ReplyEnded)] == ["cancelled"]
        assert len(s.ear.of(ReplyBegan)) == 2  # the answer came at the end of the user's turn
