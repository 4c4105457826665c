"""A session that outgrows its model's context: what the model is shown, and who wrote the summary of the rest."""

import asyncio
import gc
import re
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from duologue.core.commands import (
    CancelReply,
    CreateItem,
    CreateReply,
    DeleteItem,
    SetOptions,
    TruncateItem,
)
from duologue.core.compaction import BEGIN_AT
from duologue.core.context import CHARS_PER_TOKEN, Truncation, tokens
from duologue.core.conversation import Message, Part
from duologue.core.errors import EngineRefused
from duologue.core.facts import Rehearse, UtteranceId
from duologue.core.notices import Problem, ReplyEnded
from duologue.core.options import ReplyOptions, SessionOptions
from duologue.core.playout import SpokenText
from duologue.engines.fakes import FakeLlm
from duologue.engines.responders import LlmLink, ResponderChain
from duologue.engines.skills.responder import SkillsResponder
from duologue.ports import CallDelta, Delta, Prompt, Spent, TextDelta
from duologue.session import summary as summary_module
from duologue.session.summary import MAX_TRIES, Summaries
from tests.support.stage import Stage, stage

LIMIT = 1_000
"""Six turns are more than three quarters of it, four are more than two fifths."""

WRITTEN = ReplyOptions(spoken=False)


class Writer:
    """Answers in a word, and sums up by keeping every number it was told; remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Prompt] = []
        self.requests: list[Prompt] = []
        self.writes = asyncio.Event()
        self.writes.set()
        self.broken_off = 0
        self.error: Exception | None = None

    async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        if prompt.purpose == "answer":
            self.answers.append(prompt)
            yield TextDelta("All right, go on please, I am listening.")
            return
        self.requests.append(prompt)
        try:
            await self.writes.wait()
        except asyncio.CancelledError:
            self.broken_off += 1
            raise
        if self.error is not None:
            raise self.error
        (item,) = prompt.items
        assert isinstance(item, Message)
        facts = dict.fromkeys(re.findall(r"fact \d+", item.text))
        yield CallDelta("c1", "f", "{}")  # of no meaning here, like the next
        yield TextDelta("The user told " + ", ".join(facts))
        yield Spent(1, 1)
        yield TextDelta(".")


def prompt_tokens(prompt: Prompt) -> int:
    """What is shown, the client's own instructions not counted."""
    summary = prompt.options.instructions.partition("Notes of")[2]
    return sum(map(tokens, prompt.items)) + len(summary) // CHARS_PER_TOKEN


@asynccontextmanager
async def talking(
    llm: object, options: SessionOptions | None = None, limit: int = LIMIT
) -> AsyncIterator[Stage]:
    async with stage(options or SessionOptions(reply=WRITTEN), llm=llm) as s:
        s.world.context_tokens = limit
        yield s


async def say(s: Stage, number: int) -> None:
    """A turn of 117 tokens, and an answer of 14."""
    text = f"This is fact {number}, of which I should like you to know. " + "It is so. " * 40
    await s.ask(CreateItem, Message(f"u{number}", "user", (Part("input_text", text),)))
    await s.ask(CreateReply, s.session.options.reply)
    await s.settle()


def summaries(s: Stage) -> Summaries:
    return s.session._agent.summaries


def counted(s: Stage) -> tuple[int, int]:
    counts = s.world.meters.counts
    return counts["summaries"], counts["summaries_extracted"]


async def test_a_long_conversation_is_shown_as_a_summary_and_its_end() -> None:
    """400 turns; what was told first is known to the end, and the prompt begins anew only at each summary."""
    llm = Writer()
    plain = replace(WRITTEN, instructions="Be kind.")
    async with talking(llm, SessionOptions(reply=plain), limit=8_000) as s:
        for number in range(400):
            await say(s, number)
        changes = 0
        for before, after in zip(llm.answers, llm.answers[1:], strict=False):
            is_longer = after.items[: len(before.items)] == before.items
            changes += not is_longer or after.options.instructions != before.options.instructions
        assert max(map(prompt_tokens, llm.answers)) <= 8_000
        assert llm.answers[0].options.instructions == "Be kind."
        last = llm.answers[-1].options.instructions
        assert last.startswith("Be kind.\n\nNotes of what was said earlier")
        assert "fact 0, fact 1, fact 2" in last
        assert changes == len(llm.requests) == counted(s)[0]
        assert changes < 30
        assert len(s.session.conversation) == 800  # all of it is still there
        assert not s.ear.of(Problem)


async def test_without_it_each_answer_has_another_beginning() -> None:
    """What the summary saves: the same talk with a client's own limit, which is kept to as it always was."""
    llm = Writer()
    own = SessionOptions(reply=WRITTEN, truncation=Truncation(limit_tokens=LIMIT))
    async with talking(llm, own) as s:
        for number in range(30):
            await say(s, number)
        firsts = [prompt.items[0].id for prompt in llm.answers]
        assert len(set(firsts)) == 24
        assert (llm.requests, counted(s)) == ([], (0, 0))


async def test_nothing_is_summed_up_while_it_fits() -> None:
    async with talking(llm := Writer()) as s:
        for number in range(5):
            await say(s, number)
        assert (llm.requests, summaries(s).text) == ([], "")
        assert prompt_tokens(llm.answers[-1]) < BEGIN_AT * LIMIT


async def test_until_the_summary_is_there_the_oldest_leave_and_then_nothing_is_left_out() -> None:
    llm = Writer()
    llm.writes.clear()
    async with talking(llm) as s:
        for number in range(6):
            await say(s, number)
        await s.ask(CreateItem, Message("long", "user", (Part("input_text", "x" * 1_600),)))
        await s.ask(CreateReply, WRITTEN)
        assert prompt_tokens(llm.answers[-1]) <= LIMIT
        ids = [item.id for item in s.session.conversation]
        assert [item.id for item in llm.answers[-1].items] == ids[3:-1]
        assert summaries(s).text == ""
        llm.writes.set()
        await s.settle()
        await s.ask(CreateItem, Message("short", "user", (Part("input_text", "Well?"),)))
        await s.ask(CreateReply, WRITTEN)
        quoted = "".join(str(prompt.items[0].parts[0].text) for prompt in llm.requests[1:])  # type: ignore[union-attr]
        shown = [item.id for item in llm.answers[-1].items if item.id[0] == "u"]
        summed_up = [f"u{n}" for n in range(6) if f"fact {n}," in quoted]
        assert summed_up + shown == [f"u{n}" for n in range(6)]
        assert prompt_tokens(llm.answers[-1]) <= LIMIT


async def test_the_summary_takes_its_place_in_the_budget() -> None:
    llm = Writer()
    async with talking(llm) as s:
        for number in range(6):
            await say(s, number)
        assert counted(s) == (1, 0)
        llm.writes.clear()
        await s.ask(CreateItem, Message("long", "user", (Part("input_text", "x" * 1_790),)))
        await s.ask(CreateReply, WRITTEN)
        (shown,) = llm.answers[-1:]
        assert "fact 0" in shown.options.instructions
        assert 0.9 * LIMIT - 131 < prompt_tokens(shown) <= LIMIT
        assert sum(map(tokens, s.session.conversation)) > LIMIT


async def test_an_answer_does_not_wait_for_the_summary_which_is_asked_for_again() -> None:
    llm = Writer()
    llm.writes.clear()
    async with talking(llm) as s:
        for number in range(7):
            await say(s, number)
        assert (len(llm.requests), llm.broken_off, len(llm.answers)) == (2, 1, 7)
        await say(s, 7)
        assert (len(llm.requests), llm.broken_off, len(llm.answers)) == (3, 2, 8)
        assert len(s.ear.of(ReplyEnded)) == 8
        llm.writes.set()
        await s.settle()
        assert counted(s) == (1, 0)
        assert "fact 0" in summaries(s).text


async def test_one_that_is_always_broken_off_is_extracted() -> None:
    llm = Writer()
    llm.writes.clear()
    async with talking(llm) as s:
        for number in range(6 + MAX_TRIES):
            await say(s, number)
        assert (len(llm.requests), llm.broken_off, counted(s)) == (MAX_TRIES, MAX_TRIES, (2, 2))
        assert summaries(s).text.startswith("- User: This is fact 0, of which I should like")
        llm.writes.set()
        for number in range(20, 22):
            await say(s, number)
        assert (len(llm.requests), counted(s)) == (MAX_TRIES + 1, (3, 2))  # the next is asked for


async def test_an_answer_out_of_band_or_begun_early_goes_first_too() -> None:
    llm = Writer()
    llm.writes.clear()
    async with talking(llm) as s:
        for number in range(6):
            await say(s, number)
        assert (len(llm.requests), llm.broken_off) == (1, 0)
        await s.ask(CreateReply, replace(WRITTEN, out_of_band=True))
        assert llm.broken_off == 1
        await say(s, 6)
        s.session._agent.carry_out(Rehearse(UtteranceId(1), "Go on"))
        await s.settle()
        assert (len(llm.requests), llm.broken_off, len(llm.answers)) == (2, 2, 9)
        s.session._agent.carry_out(
            Rehearse(UtteranceId(1), "Go on")
        )  # the same: nothing is in its way
        assert summaries(s).give_way() is None


@pytest.mark.parametrize("error", [EngineRefused("no", "No."), ValueError("a bug")])
async def test_one_that_fails_is_extracted_at_once(error: Exception) -> None:
    llm = Writer()
    llm.error = error
    async with talking(llm) as s:
        for number in range(7):
            await say(s, number)
        assert counted(s) == (1, 1)
        assert "- User: This is fact 0" in llm.answers[-1].options.instructions
        assert not s.ear.of(Problem)


async def test_one_that_takes_too_long_is_extracted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary_module, "PATIENCE_S", 0.0)
    llm = Writer()
    llm.writes.clear()
    async with talking(llm) as s:
        for number in range(6):
            await say(s, number)
        for _ in range(100):
            await asyncio.sleep(0)
        assert (llm.broken_off, counted(s)) == (1, (1, 1))


@pytest.mark.parametrize("kind", [FakeLlm, SkillsResponder])
@pytest.mark.parametrize("chained", [False, True])
async def test_what_is_no_language_model_is_not_taken_for_one(kind: type, chained: bool) -> None:
    llm = kind()
    async with talking(ResponderChain([LlmLink("only", llm)]) if chained else llm) as s:
        for number in range(12):
            await say(s, number)
        made, extracted = counted(s)
        assert made == extracted > 0
        assert "- User: This is fact 0" in summaries(s).text


async def test_a_model_that_never_ends_is_not_listened_to_for_ever() -> None:
    class Endless(Writer):
        async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
            if prompt.purpose == "summary":
                while True:
                    yield TextDelta("On and on. ")
            async for delta in super().respond(prompt):
                yield delta

    async with talking(Endless()) as s:
        for number in range(7):
            await say(s, number)
        assert counted(s)[1] == 0
        assert len(summaries(s).text) <= LIMIT * CHARS_PER_TOKEN // 10


async def test_what_is_deleted_is_in_no_summary() -> None:
    async with talking(llm := Writer()) as s:
        for number in range(7):
            await say(s, number)
        assert "fact 0" in summaries(s).text
        await s.ask(DeleteItem, "u6")  # is not in it
        assert "fact 0" in summaries(s).text
        await s.ask(DeleteItem, "u0")
        assert summaries(s).text == ""
        await say(s, 7)
        assert "fact 0" not in str(llm.answers[-1])
        assert "fact 0" not in summaries(s).text
        assert "fact 1" in summaries(s).text


async def test_what_is_deleted_while_it_is_summed_up_is_in_no_summary() -> None:
    llm = Writer()
    llm.writes.clear()
    async with talking(llm) as s:
        for number in range(6):
            await say(s, number)
        await s.ask(DeleteItem, "u5")  # is not in it
        assert llm.broken_off == 0
        await s.ask(DeleteItem, "u0")
        assert (llm.broken_off, summaries(s).text) == (1, "")
        llm.writes.set()
        await say(s, 6)
        await say(s, 7)
        assert "fact 0" not in summaries(s).text
        assert "fact 1" in summaries(s).text


async def test_what_was_not_heard_after_all_is_in_no_summary() -> None:
    async with talking(Writer()) as s:
        text = SpokenText()
        text.add_piece("I said fact 99 aloud.")
        text.add_sound(0, 1_000.0)
        part = Part("output_audio", "I said fact 99 aloud.", text, 1_000.0)
        s.session.conversation.add(Message("a99", "assistant", (part,)))
        for number in range(7):
            await say(s, number)
        assert "fact 99" in summaries(s).text
        await s.ask(TruncateItem, "a99", 0, 0)
        assert summaries(s).text == ""


async def test_a_client_that_wants_nothing_dropped_is_shown_all_again() -> None:
    async with talking(llm := Writer()) as s:
        for number in range(8):
            await say(s, number)
        assert summaries(s).text
        await s.ask(SetOptions, SessionOptions(reply=WRITTEN, truncation=Truncation("disabled")))
        assert summaries(s).text == ""
        await s.ask(CreateReply, WRITTEN)
        assert s.ear.last(ReplyEnded).reply.error.code == "context_length_exceeded"
        s.world.context_tokens = 10_000
        await say(s, 8)
        assert [i.id for i in llm.answers[-1].items if i.id[0] == "u"] == [
            f"u{n}" for n in range(9)
        ]
        assert len(llm.answers[-1].options.instructions) == 0


async def test_an_answer_to_named_items_is_shown_those_and_no_summary() -> None:
    async with talking(llm := Writer()) as s:
        for number in range(7):
            await say(s, number)
        named = (s.session.conversation.retrieve("u0"),)
        await s.ask(CreateReply, replace(WRITTEN, context=named))
        assert (llm.answers[-1].items, llm.answers[-1].options.instructions) == (named, "")


async def test_an_answer_that_was_stopped_leaves_no_time() -> None:
    llm = Writer()
    async with talking(llm) as s:
        for number in range(5):
            await say(s, number)
        await s.ask(CreateItem, Message("u5", "user", (Part("input_text", "x" * 600),)))
        s.session.ask(CreateReply(900, WRITTEN))  # type: ignore[arg-type]
        await s.ask(CancelReply, None)
        assert llm.requests == []


async def test_what_an_hour_keeps_in_memory_is_bounded() -> None:
    """The conversation keeps its items, up to its bound; the summary adds no more than its own text and ids."""
    llm = Writer()
    async with talking(llm, limit=4_000) as s:
        tracemalloc.start()
        sizes = []
        for number in range(650):
            await say(s, number)
            llm.answers.clear()
            llm.requests.clear()
            s.ear.told.clear()
            if number in (519, 649):  # the thousandth item came with turn 500
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert len(s.session.conversation) == 1_000
        assert counted(s)[0] > 40
        assert sizes[0] > 400_000
        assert sizes[1] - sizes[0] < 20_000
