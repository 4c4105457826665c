"""Answers begun in a pause: sooner there if the turn ends, and never there if it does not."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import fields, is_dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest

from duologue.core.commands import (
    CancelReply,
    Commit,
    CreateItem,
    CreateReply,
    DeleteItem,
    SetOptions,
)
from duologue.core.context import Truncation
from duologue.core.conversation import Message, Part, ServerCall
from duologue.core.errors import AtCapacity, DuologueError, EngineRefused
from duologue.core.facts import DropRehearsal, Rehearse, UtteranceId
from duologue.core.notices import (
    Problem,
    ReplyBegan,
    ReplyEnded,
    ServerCallBegan,
    TextGrew,
    TranscriptDone,
)
from duologue.core.options import ReplyOptions, SessionOptions, Tool
from duologue.core.policy import TurnPolicy
from duologue.core.tool_servers import Approval, ToolServer
from duologue.core.turn import Floor
from duologue.engines.fakes import FakeLlm, FakeTts
from duologue.ports import (
    CallDelta,
    CutShort,
    Delta,
    Prompt,
    SpeakLater,
    Spent,
    StreamOptions,
    TextDelta,
)
from duologue.session.rehearsal import MAX_DELTAS, MAX_SOUND_MS, Rehearsal, Rehearsals
from tests.support.scripted import TimingStt
from tests.support.stage import Stage, stage
from tests.support.tool_shop import ToolShop

FREE = ToolServer("shop", "https://shop.org/mcp", approval=Approval("never"))
SOFT_END_MS = 300
"""Into a pause: the draft is in, and the turn (500 ms) is not over."""


async def pass_ms(clock: Callable[[], float], ms: float) -> None:
    """Wait for so much scripted time."""
    due = clock() + ms
    while clock() < due:  # noqa: ASYNC110 - nobody tells that the clock was moved
        await asyncio.sleep(0)


class Model:
    """Echoes like the fake, after `ms` of scripted time; remembers what it was asked, and who closed it when."""

    def __init__(self, *answers: Sequence[Delta], ms: float = 0) -> None:
        self.answers = list(answers)
        self.ms = ms
        self.clock: Callable[[], float] = lambda: 0.0
        self.prompts: list[Prompt] = []
        self.given = 0
        self.running = 0

    async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        self.prompts.append(prompt)
        self.running += 1
        try:
            await pass_ms(self.clock, self.ms)
            if self.answers:
                for delta in self.answers.pop(0):
                    self.given += 1
                    yield delta
                return
            async with aclosing(FakeLlm().respond(prompt)) as deltas:  # type: ignore[type-var]
                async for delta in deltas:
                    self.given += 1
                    yield delta
        finally:
            self.running -= 1


class Voice(FakeTts):
    """The fake, whose sound comes after `ms` of scripted time; `open_streams` counts."""

    def __init__(self, argument: str = "", ms: float = 0) -> None:
        super().__init__(argument)
        self.ms = ms
        self.clock: Callable[[], float] = lambda: 0.0
        self.open_streams = self.opened = 0

    def open(self, key: str, options: StreamOptions) -> Any:
        stream: Any = super().open(key, options)
        self.open_streams += 1
        self.opened += 1
        close, loop = stream.aclose, asyncio.get_running_loop()

        def after(_: float, act: Callable[[], None]) -> None:
            due = self.clock() + self.ms

            def look() -> None:
                act() if self.clock() >= due else loop.call_soon(look)

            if self.ms:
                look()
            else:
                act()

        async def aclose(*, cancel: bool = False) -> None:
            self.open_streams -= 1
            await close(cancel=cancel)

        stream.after, stream.aclose = after, aclose
        return stream


@asynccontextmanager
async def rehearsing(
    options: SessionOptions | None = None,
    *,
    llm: Any = None,
    tts: Any = None,
    stt: Any = None,
    tools: Any = None,
) -> AsyncIterator[Stage]:
    """A stage; the model and the voice go by its clock."""
    async with stage(options, llm=llm, tts=tts, stt=stt, tools=tools) as s:
        for engine in (llm, tts):
            if isinstance(engine, Model | Voice):
                engine.clock = s.world.clock
        yield s
        for _ in range(20):
            await s.settle()


async def soft_end(s: Stage, speech_ms: int = 800) -> None:
    """The user falls silent, and what they said is known."""
    await s.speak(speech_ms)
    await s.quiet(SOFT_END_MS)
    assert s.session.floor is Floor.PAUSE


async def rest_of_the_pause(s: Stage, ms: int = 300) -> None:
    await s.quiet(ms)


def counts(s: Stage) -> tuple[int, int, int]:
    """Begun, adopted, dropped."""
    all_counts = s.world.meters.counts
    names = ("rehearsals", "rehearsals_adopted", "rehearsals_dropped")
    begun, adopted, dropped = (all_counts[name] for name in names)
    return begun, adopted, dropped


def texts(s: Stage) -> list[str]:
    """What was said or written, answer by answer."""
    said = [item for r in s.ear.of(ReplyEnded) for item in r.reply.output]
    return [item.text for item in said if isinstance(item, Message)]


# --- it is sooner there ---
async def first_sound_after_commit_ms() -> tuple[float, Stage]:
    llm, tts = Model(ms=300), Voice(ms=100)
    async with rehearsing(llm=llm, tts=tts) as s:
        await soft_end(s)
        await rest_of_the_pause(s, 2_000)
        turn = s.world.meters.turns[0]
        assert len(llm.prompts) == 1
        return turn.marks["first_sent"] - turn.marks["end_of_turn"], s


async def test_the_answer_is_there_sooner_by_what_was_done_in_the_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    early_ms, s = await first_sound_after_commit_ms()
    assert counts(s) == (1, 1, 0)
    assert "the answer was begun early" in s.world.meters.turns[0].reasons
    monkeypatch.setattr(Rehearsals, "begin", lambda *_: None)
    late_ms, s = await first_sound_after_commit_ms()
    assert "the answer was begun early" not in s.world.meters.turns[0].reasons
    assert late_ms >= 400
    assert late_ms - early_ms >= 240  # the pause was 500 ms, of which the draft took 200


async def test_what_was_made_before_is_there_at_once_and_the_rest_follows() -> None:
    llm, tts = Model(), Voice("tts_s=6")
    async with rehearsing(llm=llm, tts=tts) as s:
        await soft_end(s)
        assert not s.ear.frames
        await rest_of_the_pause(s)
        turn = s.world.meters.turns[0]
        for mark in ("first_token", "first_sound", "first_sent"):
            assert turn.marks[mark] == turn.marks["reply_started"]
        await s.quiet(7_000)
        assert abs(s.ear.sound_ms() - 6_000) < 1
        assert s.session.mouth.underruns == 0
        assert s.ear.last(TranscriptDone).text in texts(s)[0]
        assert (len(llm.prompts), tts.opened, tts.open_streams) == (1, 1, 0)


async def test_an_answer_in_writing_is_rehearsed_too() -> None:
    llm = Model()
    async with rehearsing(SessionOptions(reply=ReplyOptions(spoken=False)), llm=llm) as s:
        await soft_end(s)
        assert (len(llm.prompts), s.ear.of(TextGrew)) == (1, [])
        await rest_of_the_pause(s)
        assert s.ear.last(TranscriptDone).text in texts(s)[0]
        assert (len(llm.prompts), counts(s)) == (1, (1, 1, 0))


async def test_the_answer_that_was_taken_over_is_interrupted_like_any_other() -> None:
    llm, tts = Model(), Voice("tts_s=8")
    async with rehearsing(llm=llm, tts=tts) as s:
        await soft_end(s)
        await rest_of_the_pause(s, 1_000)
        await s.speak(800)
        assert s.ear.last(ReplyEnded).reply.reason == "turn_detected"
        item = s.session.conversation.get(s.ear.last(ReplyEnded).reply.output[0].id)
        assert isinstance(item, Message)
        assert item.status == "incomplete"
        await s.settle()
        assert tts.open_streams == 0


# --- it is never there ---
async def test_who_goes_on_is_answered_once_and_to_all_they_said() -> None:
    llm = Model()
    async with rehearsing(llm=llm, tts=Voice()) as s:
        await soft_end(s)
        first = llm.prompts[0].items[-1]
        assert isinstance(first, Message)
        await s.speak(600)
        assert counts(s) == (1, 0, 1)
        await s.quiet(700)
        assert len(llm.prompts) == 2
        assert len(s.ear.of(ReplyBegan)) == 1
        whole = s.ear.last(TranscriptDone).text
        assert whole.startswith(first.text + " ")
        await s.quiet(9_000)
        (said,) = texts(s)
        assert whole.split()[:6] == said.split()[2:8]
        assert counts(s) == (2, 1, 1)


async def test_a_drop_closes_the_engines_streams() -> None:
    llm, tts = Model(ms=10), Voice("tts_s=60", ms=30)
    async with rehearsing(llm=llm, tts=tts) as s:
        await soft_end(s)
        assert tts.open_streams == 1
        began = asyncio.get_running_loop().time()
        s.session._agent.carry_out(DropRehearsal())
        for _ in range(20):
            await asyncio.sleep(0)
        assert (tts.open_streams, llm.running) == (0, 0)
        assert asyncio.get_running_loop().time() - began < 0.05
        s.session._agent.carry_out(DropRehearsal())
        assert counts(s) == (1, 0, 1)


async def test_it_ends_with_the_session() -> None:
    llm, tts = Model(ms=1_000_000), Voice()
    async with rehearsing(llm=llm, tts=tts) as s:
        await soft_end(s)
        assert (llm.running, tts.open_streams) == (1, 1)
    assert (llm.running, tts.open_streams) == (0, 0)


async def create(s: Stage) -> None:
    await s.ask(CreateItem, Message("n1", "user", (Part("input_text", "Wait."),)))


async def delete(s: Stage) -> None:
    await s.ask(DeleteItem, "n0")


async def instruct(s: Stage) -> None:
    await s.ask(SetOptions, SessionOptions(reply=ReplyOptions(instructions="Be brief.")))


async def change_language(s: Stage) -> None:
    await s.ask(SetOptions, SessionOptions(language="de"))


async def ask_otherwise(s: Stage) -> None:
    await s.ask(CreateReply, ReplyOptions(instructions="Be brief."))


@pytest.mark.parametrize("meddle", [create, delete, instruct, change_language, ask_otherwise])
async def test_what_changes_meanwhile_is_heeded(meddle: Callable[[Stage], Any]) -> None:
    llm = Model()
    async with rehearsing(llm=llm) as s:
        await s.ask(CreateItem, Message("n0", "user", (Part("input_text", "Hello."),)))
        await soft_end(s)
        await meddle(s)
        await rest_of_the_pause(s)
        assert (len(llm.prompts), len(s.ear.of(ReplyBegan))) == (2, 1)
        assert counts(s) == (1, 0, 1)
        ended = s.session.conversation
        assert llm.prompts[-1].items == tuple(ended)[: len(llm.prompts[-1].items)]
        assert llm.prompts[-1].options == s.ear.last(ReplyBegan).reply.options


async def test_a_client_that_wants_the_very_answer_gets_what_was_made() -> None:
    llm = Model()
    async with rehearsing(llm=llm) as s:
        await soft_end(s)
        await s.ask(CreateReply, s.session.options.reply)
        assert (len(llm.prompts), len(s.ear.of(ReplyBegan))) == (1, 1)
        assert counts(s) == (1, 1, 0)


async def test_an_announcement_is_never_taken_for_the_answer() -> None:
    llm = Model()
    async with rehearsing(llm=llm) as s:
        s.session._agent.carry_out(Rehearse(UtteranceId(1), "Hello."))
        await s.settle()
        s.session.say("Time is up.")
        await s.quiet(3_000)
        assert (texts(s), counts(s)) == (["Time is up."], (1, 0, 1))


async def test_nor_where_the_conversation_is_the_very_one_that_was_foreseen() -> None:
    async with rehearsing(llm=Model()) as s:
        await soft_end(s)
        await s.ask(Commit)
        s.session.say("Time is up.")
        await s.quiet(3_000)
        assert (texts(s), counts(s)) == (["Time is up."], (1, 0, 1))


async def test_the_same_words_are_not_rehearsed_twice_and_others_take_their_place() -> None:
    llm = Model(ms=10_000)
    async with rehearsing(llm=llm) as s:
        for text in ("One.", "One.", "Two.", ""):
            s.session._agent.carry_out(Rehearse(UtteranceId(1), text))
            await s.settle()
        said = [item.text for p in llm.prompts for item in p.items if isinstance(item, Message)]
        assert (said, counts(s)) == (["One.", "Two."], (2, 0, 2))


async def test_where_it_is_not_certain_what_was_said_nothing_is_rehearsed() -> None:
    llm = Model(ms=10_000)
    async with rehearsing(llm=llm) as s:
        await s.ask(CreateItem, Message("n0", "user", (Part("input_audio", None),)))
        s.session._agent.carry_out(Rehearse(UtteranceId(1), "One."))
        await s.ask(DeleteItem, "n0")
        await s.ask(CreateReply, ReplyOptions(spoken=False))
        s.session._agent.carry_out(Rehearse(UtteranceId(1), "One."))
        await s.settle()
        assert (len(llm.prompts), counts(s)) == (1, (0, 0, 0))


async def test_a_responder_that_does_things_is_asked_once() -> None:
    class Doer(Model):
        capabilities = SimpleNamespace(acts=True)

    llm = Doer()
    async with rehearsing(llm=llm) as s:
        await soft_end(s)
        assert not llm.prompts
        await rest_of_the_pause(s)
        assert (len(llm.prompts), counts(s)) == (1, (0, 0, 0))


# --- what an answer does, it does once ---
async def test_a_tool_is_called_once_and_not_before_the_turn_is_over() -> None:
    shop = ToolShop()
    llm = Model(
        [
            CallDelta("c1", "add", '{"a"'),
            CallDelta("c1", "", ": 1}"),
            Spent(10, 5),
            SpeakLater(0, "Now."),
        ]
    )
    async with rehearsing(
        SessionOptions(reply=ReplyOptions(servers=(FREE,))), llm=llm, tools=shop
    ) as s:
        await soft_end(s)
        assert (len(llm.prompts), shop.calls, s.ear.of(ServerCallBegan)) == (1, [], [])
        assert [tool.name for tool in llm.prompts[0].options.tools] == ["add", "wait", "fail"]
        assert not s.session._agent._timers
        await rest_of_the_pause(s)
        assert shop.calls == [("shop", "add", {"a": 1})]
        assert (len(llm.prompts), counts(s)) == (1, (1, 1, 0))
        ended = s.ear.of(ReplyEnded)[0].reply
        assert (ended.status, ended.usage.input_text) == ("completed", 10)
        (call,) = ended.output
        assert isinstance(call, ServerCall)
        for _ in range(5):
            await s.quiet(500)
        assert texts(s)[-1] == "Now."  # the timer was set, once
        assert len(s.ear.of(ReplyBegan)) == 2


async def test_the_tools_of_a_rehearsal_that_waits_for_them_are_used_after_it_was_adopted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop, may_offer = ToolShop(), asyncio.Event()
    llm = Model([CallDelta("c1", "add", "{}"), CutShort("max_output_tokens")])
    options = SessionOptions(reply=ReplyOptions(spoken=False, servers=(FREE,)))
    async with rehearsing(options, llm=llm, tools=shop) as s:
        offer = s.session.toolbox.offer

        async def slow(options: ReplyOptions) -> Any:
            await may_offer.wait()
            return await offer(options)

        monkeypatch.setattr(s.session.toolbox, "offer", slow)
        await soft_end(s)
        await rest_of_the_pause(s)
        assert not llm.prompts
        may_offer.set()
        await s.settle()
        ended = s.ear.last(ReplyEnded).reply
        assert isinstance(ended.output[0], ServerCall)
        assert (ended.status, ended.reason) == ("incomplete", "max_output_tokens")


# --- what breaks, breaks nothing ---
async def test_what_fails_in_a_rehearsal_is_begun_again() -> None:
    class Fails(Model):
        async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
            if not self.prompts:
                self.prompts.append(prompt)
                raise EngineRefused("llm_refused", "No.")
            async for delta in super().respond(prompt):
                yield delta

    llm = Fails()
    async with rehearsing(llm=llm) as s:
        await soft_end(s)
        await rest_of_the_pause(s)
        assert (len(llm.prompts), counts(s)) == (2, (1, 0, 1))
        await s.quiet(6_000)
        assert [r.reply.status for r in s.ear.of(ReplyEnded)] == ["completed"]
        assert not s.ear.of(Problem)


async def test_what_fails_after_it_was_adopted_fails_the_answer() -> None:
    class Late(Model):
        async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
            self.prompts.append(prompt)
            yield TextDelta("Well, well. ")
            await pass_ms(self.clock, 300)
            raise EngineRefused("llm_refused", "No.")

    llm = Late()
    async with rehearsing(llm=llm) as s:
        await soft_end(s)
        await rest_of_the_pause(s, 2_000)
        assert (len(llm.prompts), counts(s)) == (1, (1, 1, 0))
        ended = s.ear.last(ReplyEnded).reply
        assert (ended.status, ended.error.code) == ("failed", "llm_refused")


async def test_a_bug_in_a_rehearsal_is_the_answers_only_if_it_is_met_again() -> None:
    class Buggy(Model):
        async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
            self.prompts.append(prompt)
            if len(self.prompts) == 1:
                raise ZeroDivisionError
            yield TextDelta("Well. ")
            await pass_ms(self.clock, 300)
            raise ZeroDivisionError

    llm = Buggy()
    async with rehearsing(llm=llm) as s:
        await soft_end(s)
        assert s.session.error is None
        s.session._agent.carry_out(Rehearse(UtteranceId(1), "Once more."))
        await rest_of_the_pause(s)
        assert s.session.error is None
        await s.quiet(400)
        assert isinstance(s.session.error, ZeroDivisionError | BaseExceptionGroup)


async def test_a_bug_after_it_was_adopted_ends_the_session() -> None:
    class Buggy(Model):
        async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
            yield TextDelta("Well. ")
            await pass_ms(self.clock, 600)
            raise ZeroDivisionError

    async with rehearsing(llm=Buggy()) as s:
        await soft_end(s)
        await rest_of_the_pause(s)
        assert counts(s) == (1, 1, 0)
        assert s.session.error is None
        await s.quiet(600)
        assert s.session.error is not None


async def test_a_voice_with_one_place_is_enough() -> None:
    class SlowToClose(Model):
        async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
            try:
                async for delta in super().respond(prompt):
                    yield delta
                await asyncio.sleep(0)
            finally:
                for _ in range(8):
                    await asyncio.sleep(0)

    tts = Voice("tts_s=30")
    tts.capabilities = replace(tts.capabilities, max_streams=1)
    async with rehearsing(llm=SlowToClose(ms=250), tts=tts) as s:
        await soft_end(s)
        await s.ask(CreateItem, Message("n1", "user", (Part("input_text", "Wait."),)))
        await rest_of_the_pause(s, 3_000)
        assert counts(s) == (1, 0, 1)
        assert s.session.floor is Floor.AGENT
        assert not s.ear.of(ReplyEnded)


async def test_a_place_that_is_not_there_yet_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with rehearsing(llm=Model(), tts=Voice("tts_s=2")) as s:
        open_stream = s.world.pool.open
        refused: list[str] = []

        async def full(role: Any, key: str, options: Any) -> Any:
            if role == "tts" and not refused:
                refused.append(role)
                raise AtCapacity("tts_at_capacity", "All streams are taken.")
            return await open_stream(role, key, options)

        monkeypatch.setattr(s.world.pool, "open", full)
        await soft_end(s)
        assert refused
        await rest_of_the_pause(s, 3_000)
        assert counts(s) == (1, 0, 1)
        assert [r.reply.status for r in s.ear.of(ReplyEnded)] == ["completed"]


# --- bounds ---
async def test_no_more_is_kept_than_a_pause_can_need() -> None:
    llm, tts = Model([TextDelta("word ") for _ in range(10 * MAX_DELTAS)]), Voice("tts_s=600")
    patient = SessionOptions(turn=TurnPolicy(silence_ms=5_000))
    async with rehearsing(patient, llm=llm, tts=tts) as s:
        await soft_end(s)
        await s.quiet(3_000)
        present = s.session._agent._rehearsals._present
        assert isinstance(present, Rehearsal)
        assert MAX_SOUND_MS <= present.kept_ms < MAX_SOUND_MS + 600
        assert llm.given == MAX_DELTAS
        await s.quiet(3_000)
        assert present.is_adopted
        assert llm.given > MAX_DELTAS
        assert present.kept_ms == 0


async def test_long_pieces_count_by_their_text() -> None:
    llm = Model([CallDelta("c1", "lamp", "x" * 1_000) for _ in range(20)])
    lamp = Tool("lamp", "", {})
    async with rehearsing(SessionOptions(reply=ReplyOptions(tools=(lamp,))), llm=llm) as s:
        await soft_end(s)
        assert llm.given == 4
        await rest_of_the_pause(s)
        assert llm.given == 20
        assert len(s.ear.last(ReplyEnded).reply.output[0].arguments) == 20_000


async def test_where_the_conversation_is_cut_is_remembered_only_for_what_is_shown() -> None:
    llm = Model(ms=10_000)
    few = SessionOptions(truncation=Truncation(limit_tokens=100))
    async with rehearsing(few, llm=llm) as s:
        for number in range(20):
            said = (Part("input_text", f"number {number} " + "x" * 40),)
            await s.ask(CreateItem, Message(f"n{number}", "user", said))
        await s.ask(CreateReply, ReplyOptions(spoken=False))
        await s.ask(CancelReply, None)
        cut_at = s.session._agent.summaries._window._first
        assert cut_at is not None
        s.session._agent.carry_out(Rehearse(UtteranceId(1), "y" * 200))
        await s.settle()
        assert llm.prompts[0].items[0].id == cut_at != llm.prompts[1].items[0].id
        assert s.session._agent.summaries._window._first == cut_at
        await s.ask(SetOptions, replace(few, truncation=Truncation("disabled", limit_tokens=100)))
        s.session._agent.carry_out(Rehearse(UtteranceId(1), "z" * 400))
        await s.settle()
        assert (len(llm.prompts), counts(s)) == (2, (1, 0, 1))  # there will be no answer


# --- nobody can tell ---
def shape(notice: Any, names: dict[str, str]) -> Any:
    """What a notice says, with its ids numbered as they come."""
    if isinstance(notice, str):
        head, _, tail = notice.partition("_")
        if head in ("item", "resp") and len(tail) == 20:
            return names.setdefault(notice, f"{head} {len(names)}")
        return notice
    if isinstance(notice, DuologueError):
        return notice.code
    if isinstance(notice, tuple):
        return tuple(shape(n, names) for n in notice)
    if is_dataclass(notice):
        kept = [f.name for f in fields(notice) if f.name not in ("spoken", "options")]
        return (type(notice).__name__, *(shape(getattr(notice, name), names) for name in kept))
    return notice


async def walk(seed: int) -> tuple[list[Any], Stage]:
    """A conversation at random; what the client was told, and when."""
    dice = random.Random(seed)
    options = SessionOptions(turn=TurnPolicy(idle_ms=dice.choice([None, 4_000])))
    tts = Voice(f"tts_s={dice.choice([0.2, 1, 4])}")
    async with rehearsing(options, llm=Model(), tts=tts, stt=TimingStt()) as s:
        for _ in range(30):
            ms = 20 * dice.randint(1, 50)
            match dice.choice(["speak", "quiet", "quiet", "quiet", "muted", "ask"]):
                case "speak":
                    await s.speak(ms)
                case "quiet":
                    await s.quiet(ms)
                case "muted":
                    await s.muted(ms)
                case _:
                    match dice.randint(0, 4):
                        case 0:
                            await s.ask(CreateReply, s.session.options.reply)
                        case 1:
                            await s.ask(CancelReply)
                        case 2:
                            said = Part("input_text", "By the way.")
                            await s.ask(
                                CreateItem, Message(s.session.new_id("item"), "user", (said,))
                            )
                        case 3:
                            told = SessionOptions(reply=ReplyOptions(instructions=str(ms)))
                            await s.ask(SetOptions, replace(options, reply=told.reply))
                        case _:
                            s.session.say("Time is up.")
                            await s.settle()
        await s.quiet(6_000)
        names: dict[str, str] = {}
        told_of = [(at, shape(notice, names)) for at, notice in s.ear.told]
        sound = [(at, shape(item_id, names), pcm) for at, item_id, pcm in s.ear.frames]
        return [told_of, sound], s


@pytest.mark.parametrize("seed", range(10))
async def test_the_client_cannot_tell_but_by_the_time(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engines take no time here, so that even the times are the same."""
    told, s = await walk(seed)
    monkeypatch.setattr(Rehearsals, "begin", lambda *_: None)
    without, _ = await walk(seed)
    assert told == without
    begun, adopted, dropped = counts(s)
    assert begun == adopted + dropped
