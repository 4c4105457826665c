import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from duologue.core.capabilities import Capabilities
from duologue.core.errors import EngineLost, EngineRefused
from duologue.engines.responders import LlmLink, ResponderChain
from duologue.ports import Delta, Prompt, TextDelta

LOST = EngineLost("llm_lost", "The connection broke off.")


class Model:
    """Says its words, each a word or an error; `hangs` before the first."""

    def __init__(self, *words: str | Exception, hangs: bool = False, acts: bool = False) -> None:
        self.words = words
        self.hangs = hangs
        self.asked = self.closed = 0
        self.capabilities = Capabilities(acts=acts)

    async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        self.asked += 1
        try:
            if self.hangs:
                await asyncio.Event().wait()
            for word in self.words:
                if isinstance(word, Exception):
                    raise word
                yield TextDelta(word)
        finally:
            self.closed += 1


def chain_of(*models: Model, patience_s: float = 5) -> ResponderChain:
    links = [LlmLink(f"model-{n}", model) for n, model in enumerate(models)]
    return ResponderChain(links, patience_s=patience_s)


async def said(chain: ResponderChain) -> list[str]:
    prompt: Any = Prompt((), None)  # type: ignore[arg-type]
    return [d.text async for d in chain.respond(prompt) if isinstance(d, TextDelta)]


async def test_the_preferred_model_answers_alone() -> None:
    first, second = Model("one", "two"), Model("other")
    assert await said(chain_of(first, second)) == ["one", "two"]
    assert second.asked == 0
    assert first.closed == 1


async def test_a_model_that_fails_before_its_first_word_is_replaced_and_then_passed_over() -> None:
    first, second = Model(LOST), Model("other")
    chain = chain_of(first, second)
    assert await said(chain) == ["other"]
    assert await said(chain) == ["other"]
    assert (first.asked, chain.fallbacks) == (1, 1)
    chain.links[0].breaker._probe_at_s = 0.0  # its rest is over
    first.words = ("back",)
    assert await said(chain) == ["back"]
    assert not chain.links[0].breaker.is_open


async def test_a_model_that_hangs_is_replaced_and_its_request_closed() -> None:
    first = Model(hangs=True)
    assert await said(chain_of(first, Model("other"), patience_s=0.02)) == ["other"]
    assert first.closed == 1


async def test_the_last_model_may_take_its_time() -> None:
    chain = chain_of(Model(hangs=True), patience_s=0.01)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await said(chain)


async def test_what_has_begun_is_not_continued_by_another() -> None:
    second = Model("other")
    with pytest.raises(EngineLost):
        await said(chain_of(Model("one", LOST), second))
    assert second.asked == 0


async def test_a_refusal_is_no_mark_against_a_model() -> None:
    first = Model(EngineRefused("too_long", "Too long."))
    chain = chain_of(first, Model("other"))
    assert await said(chain) == ["other"]
    assert not chain.links[0].breaker.is_open


async def test_closing_an_answer_closes_the_request() -> None:
    model = Model("one", "two")
    prompt: Any = Prompt((), None)  # type: ignore[arg-type]
    async with aclosing(chain_of(model).respond(prompt)) as deltas:  # type: ignore[type-var]
        await anext(deltas)
    assert model.closed == 1


async def test_an_empty_answer_is_one_and_no_model_at_all_is_said() -> None:
    assert await said(chain_of(Model(), Model("other"))) == []
    with pytest.raises(EngineLost) as raised:
        await said(ResponderChain([]))
    assert raised.value.code == "llm_missing"


def test_a_chain_acts_if_any_model_does() -> None:
    assert chain_of(Model(), Model(acts=True)).capabilities.acts
    assert not chain_of(Model()).capabilities.acts
    assert not ResponderChain([]).capabilities.acts


# --- summaries ---
async def summed_up(chain: ResponderChain) -> list[str]:
    prompt: Any = Prompt((), None, purpose="summary")  # type: ignore[arg-type]
    return [d.text async for d in chain.respond(prompt) if isinstance(d, TextDelta)]


async def test_a_summary_is_asked_of_no_model_that_acts() -> None:
    skills, model = Model("I cannot.", acts=True), Model("Notes.")
    assert await summed_up(chain_of(skills, model)) == ["Notes."]
    assert skills.asked == 0
    with pytest.raises(EngineLost) as raised:
        await summed_up(chain_of(Model(LOST), skills))
    assert raised.value is LOST
    with pytest.raises(EngineLost) as raised:
        await summed_up(chain_of(skills))
    assert (raised.value.code, skills.asked) == ("llm_missing", 0)


async def test_a_model_that_reads_long_for_a_summary_is_not_given_up() -> None:
    chain = chain_of(Model(hangs=True), Model("other"), patience_s=0.01)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await summed_up(chain)
    assert not chain.links[0].breaker.is_open
