"""Greeting, filler and goodbye: who speaks unasked, and when the line is closed."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from duologue.core.commands import (
    CancelReply,
    ClearOutput,
    CreateItem,
    CreateReply,
    DeleteItem,
    SetOptions,
)
from duologue.core.conversation import FunctionCall, FunctionResult, Message, Part
from duologue.core.manners import HANG_UP
from duologue.core.notices import OutputBegan, PlaybackEnded, ReplyEnded
from duologue.core.options import ReplyOptions, SessionOptions, Tool
from duologue.core.tool_servers import Approval, ToolServer
from duologue.core.turn import Floor
from duologue.engines.fakes import FakeTts
from duologue.ports import CallDelta, Delta, Prompt, TextDelta
from duologue.session.manners import (
    FILLER_AFTER_MS,
    GREETING_WAIT_MS,
    PARTING_MS,
    SAME_BREATH_MS,
)
from tests.support.scripted import TimingStt
from tests.support.stage import FRAME_MS, Stage, stage
from tests.support.tool_shop import ToolShop

GREETING = SessionOptions(greeting="Hello, this is Ada.")
POLITE = SessionOptions(hang_up=True)
PATIENT = SessionOptions(filler="One moment, please.")
BYE: Sequence[Delta] = (TextDelta("Goodbye."), CallDelta("c1", "hang_up", "{}"))
LOOKUP: Sequence[Delta] = (CallDelta("c1", "look_up", "{}"),)
A_FRAME = FRAME_MS


class Model:
    """Answers with what it is told to, one answer after the other; remembers what it was shown."""

    def __init__(self, *answers: Sequence[Delta]) -> None:
        self.answers = list(answers)
        self.prompts: list[Prompt] = []

    async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        self.prompts.append(prompt)
        for delta in self.answers.pop(0) if self.answers else [TextDelta("Well.")]:
            yield delta


def said(s: Stage) -> list[str]:
    """The words of each answer that has ended."""
    output = [item for ended in s.ear.of(ReplyEnded) for item in ended.reply.output]
    return [item.text for item in output if isinstance(item, Message)]


def hung_up(s: Stage) -> bool:
    assert s.session.ended.is_set() == s.session.hung_up
    return s.session.hung_up


def floor(s: Stage) -> Floor:
    return s.session.floor


# --- greeting ---
async def test_a_client_that_says_nothing_is_greeted_after_a_while() -> None:
    async with stage(GREETING) as s:
        await s.muted(GREETING_WAIT_MS - A_FRAME)
        assert not s.ear.told
        await s.muted(A_FRAME)
        assert floor(s) is Floor.AGENT
        await s.muted(60_000)
        assert said(s) == ["Hello, this is Ada."]  # once


async def test_settings_are_waited_for_and_then_no_longer() -> None:
    async with stage(GREETING) as s:
        await s.muted(100)
        new = replace(GREETING, reply=ReplyOptions(spoken=False), greeting="Hi.")
        await s.ask(SetOptions, new)
        assert not s.ear.of(ReplyEnded)
        await s.muted(SAME_BREATH_MS)
        assert said(s) == ["Hi."]
        assert [n.item.parts[0].kind for n in s.ear.of(OutputBegan)] == ["output_text"]
        await s.ask(SetOptions, replace(new, greeting="Hi again."))
        await s.muted(60_000)
        assert said(s) == ["Hi."]


async def test_nobody_is_greeted_who_has_begun_or_only_listens() -> None:
    async with stage(GREETING, llm=Model()) as s:
        await s.ask(CreateReply, ReplyOptions(spoken=False))
        await s.muted(5_000)
        assert said(s) == ["Well."]
    async with stage(GREETING, llm=Model()) as s:
        await s.speak(GREETING_WAIT_MS)
        await s.quiet(10_000)
        assert said(s) == ["Well."]
    async with stage(GREETING) as s:
        await s.ask(CreateItem, Message("m", "user", (Part("input_text", "As I said"),)))
        await s.muted(5_000)
        assert said(s) == []
    async with stage(replace(GREETING, answers=False)) as s:
        await s.muted(5_000)
        assert said(s) == []


async def test_who_is_told_of_the_weather_is_greeted_all_the_same() -> None:
    async with stage(SessionOptions(greeting="Hi.")) as s:
        await s.ask(CreateItem, Message("m", "system", (Part("input_text", "It rains."),)))
        await s.muted(5_000)
        assert said(s) == ["Hi."]


async def test_a_greeting_may_come_later_as_long_as_nobody_has_spoken() -> None:
    async with stage() as s:
        await s.muted(5_000)
        await s.ask(SetOptions, GREETING)
        await s.muted(10_000)
        assert said(s) == ["Hello, this is Ada."]


async def test_who_takes_the_greeting_out_is_not_greeted_again() -> None:
    async with stage(replace(GREETING, reply=ReplyOptions(spoken=False))) as s:
        await s.muted(5_000)
        (greeting,) = s.session.conversation
        await s.ask(DeleteItem, greeting.id)
        await s.ask(SetOptions, GREETING)
        await s.muted(5_000)
        assert len(said(s)) == 1


# --- a filler ---
async def test_a_tool_that_takes_its_time_is_excused_once() -> None:
    async with stage(PATIENT, llm=Model(LOOKUP)) as s:
        await s.ask(CreateReply, ReplyOptions(tools=(Tool("look_up", "", {}),)))
        await s.muted(FILLER_AFTER_MS)
        assert floor(s) is Floor.OPEN
        await s.muted(2 * A_FRAME)
        assert floor(s) is Floor.AGENT
        await s.muted(60_000)
        assert said(s) == ["One moment, please."]


async def test_a_quick_one_or_one_that_was_spoken_of_is_not() -> None:
    told = (TextDelta("I will look."), *LOOKUP)
    for answers, expected in (([LOOKUP], []), ([told], ["I will look."])):
        async with stage(PATIENT, llm=Model(*answers)) as s:
            await s.ask(CreateReply, ReplyOptions(spoken=False))
            if not expected:
                await s.ask(CreateItem, FunctionResult("r", "c1", "found"))
            await s.muted(10_000)
            assert said(s) == expected
    async with stage(llm=Model(LOOKUP)) as s:  # nobody wants one
        await s.ask(CreateReply, ReplyOptions())
        await s.muted(10_000)
        assert said(s) == []


async def test_nobody_is_talked_over() -> None:
    async with stage(PATIENT, llm=Model(LOOKUP)) as s:
        await s.ask(CreateReply, ReplyOptions())
        await s.muted(FILLER_AFTER_MS // 2)
        await s.turn()
        await s.quiet(5_000)
        assert said(s) == ["Well."]


async def test_tools_of_servers_are_excused_and_questions_for_approval_are_not() -> None:
    free = ToolServer("shop", "https://shop.org/mcp", approval=Approval("never"))
    wait: Sequence[Delta] = (CallDelta("c1", "wait", "{}"),)
    for server, expected in (
        (free, ["One moment, please."]),
        (replace(free, approval=Approval()), []),
    ):
        options = replace(PATIENT, reply=ReplyOptions(servers=(server,)))
        async with stage(options, llm=Model(wait), tools=ToolShop()) as s:
            await s.settle()
            await s.ask(CreateReply, options.reply)
            await s.muted(5_000)
            assert said(s) == expected


# --- a goodbye ---
async def test_the_line_is_closed_once_the_goodbye_was_heard() -> None:
    async with stage(POLITE, llm=Model(BYE), tts=FakeTts("tts_s=2")) as s:
        await s.turn()
        while not s.ear.of(PlaybackEnded):
            assert not hung_up(s)
            await s.muted(A_FRAME)
        heard = s.ear.last(PlaybackEnded)
        assert not heard.cut
        assert heard.heard_ms >= 1_990
        await s.muted(PARTING_MS - A_FRAME)
        assert not hung_up(s)
        await s.muted(2 * A_FRAME)
        assert hung_up(s)
        assert s.session.error is None


async def test_nobody_sees_the_call() -> None:
    model = Model(BYE)
    async with stage(POLITE, llm=model) as s:
        await s.turn()
        assert model.prompts[0].options.tools == (HANG_UP,)
        await s.muted(2_000)
        assert said(s) == ["Goodbye."]
        assert len(s.ear.last(ReplyEnded).reply.output) == 1
        assert not [i for i in s.session.conversation if isinstance(i, FunctionCall)]


async def test_where_nothing_is_said_nothing_is_waited_for() -> None:
    async with stage(POLITE, llm=Model(BYE[1:])) as s:
        await s.speak(800)
        await s.quiet(480)
        assert not hung_up(s)
        await s.quiet(100)
        assert s.ear.last(ReplyEnded).reply.status == "completed"
        assert hung_up(s)


@pytest.mark.parametrize("late_ms", [200, 2_000 + PARTING_MS // 2])
async def test_who_goes_on_speaking_is_not_hung_up_on(late_ms: int) -> None:
    """Over the goodbye, or in the silence after it."""
    async with stage(POLITE, llm=Model(BYE), tts=FakeTts("tts_s=2")) as s:
        await s.turn(quiet_ms=500)
        while floor(s) is not Floor.AGENT:
            await s.muted(A_FRAME)
        await s.quiet(late_ms)
        await s.turn()
        await s.quiet(60_000)
        assert not hung_up(s)
        assert said(s)[-1] == "Well."


async def test_a_cough_over_the_goodbye_does_not_keep_the_line() -> None:
    async with stage(POLITE, llm=Model(BYE), stt=TimingStt(), tts=FakeTts("tts_s=2")) as s:
        await s.turn()
        assert floor(s) is Floor.AGENT
        await s.speak(120)
        assert floor(s) is Floor.OVERLAP
        await s.quiet(10_000)
        assert hung_up(s)
        assert [e.cut for e in s.ear.of(PlaybackEnded)] == [False]


async def test_what_the_client_stops_does_not_end_it() -> None:
    for stop in (CancelReply, ClearOutput):
        async with stage(POLITE, llm=Model(BYE), tts=FakeTts("tts_s=2")) as s:
            await s.turn()
            await s.ask(stop)
            await s.quiet(10_000)
            assert not hung_up(s)
    async with stage(POLITE, llm=Model(BYE), tts=FakeTts("tts_s=0.06")) as s:
        await s.turn(quiet_ms=520)  # all of it was sent, and not all of it heard
        assert s.ear.last(ReplyEnded).reply.status == "completed"
        await s.ask(ClearOutput)
        assert s.ear.last(PlaybackEnded).cut
        await s.quiet(10_000)
        assert not hung_up(s)


async def test_a_client_may_take_it_back_and_nobody_is_hung_up_on_unasked() -> None:
    async with stage(POLITE, llm=Model(BYE), tts=FakeTts("tts_s=2")) as s:
        await s.turn()
        await s.ask(SetOptions, replace(POLITE, hang_up=False))
        await s.muted(10_000)
        assert not hung_up(s)
    model = Model(BYE)
    async with stage(llm=model) as s:
        await s.turn()
        await s.muted(10_000)
        assert not hung_up(s)
        assert model.prompts[0].options.tools == ()
        call = s.ear.last(ReplyEnded).reply.output[0]
        assert isinstance(call, FunctionCall)  # it was the client's own business, then


async def test_a_clients_own_function_of_that_name_is_the_clients() -> None:
    own = Tool("hang_up", "Ours.", {})
    async with stage(replace(POLITE, reply=ReplyOptions(tools=(own,))), llm=Model(BYE[1:])) as s:
        await s.turn()
        await s.muted(10_000)
        assert not hung_up(s)
        assert [type(i) for i in s.ear.last(ReplyEnded).reply.output] == [FunctionCall]


async def test_an_answer_beside_the_conversation_does_not_end_it() -> None:
    model = Model(BYE[:1])
    async with stage(POLITE, llm=model) as s:
        await s.ask(CreateReply, ReplyOptions(out_of_band=True))
        await s.muted(10_000)
        assert not hung_up(s)
        assert model.prompts[0].options.tools == ()
