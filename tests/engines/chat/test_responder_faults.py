import asyncio
import time
from contextlib import aclosing, suppress
from typing import Any

import pytest

from duologue.core.errors import (
    AtCapacity,
    EngineError,
    EngineLost,
    EngineRefused,
)
from duologue.engines.chat.responder import OpenAIResponder, Patience
from duologue.ports import Delta
from tests.engines.chat.chat_server import (
    Answer,
    Exchange,
    one_by_one,
    refuses,
    says,
)
from tests.engines.chat.chat_talk import KEY, SHORT, answer_of, prompt, speaking_to, text_of


@pytest.mark.parametrize(
    ("status", "message", "code", "kind"),
    [
        (401, f"Incorrect API key provided: {KEY}", "llm_unauthorised", EngineRefused),
        (403, "Not for you", "llm_unauthorised", EngineRefused),
        (404, "The model `tiny` does not exist", "llm_model_unknown", EngineRefused),
        (404, "Not Found", "llm_url_wrong", EngineRefused),
        (429, "Slow down", "llm_rate_limited", AtCapacity),
        (400, "This model's maximum context length is 4096", "llm_context_full", EngineRefused),
        (400, "Bad request", "llm_refused", EngineRefused),
        (418, "Short and stout", "llm_refused", EngineRefused),
        (500, "Out of memory", "llm_failed", EngineLost),
        (503, "Loading model", "llm_failed", EngineLost),
    ],
)
async def test_a_refusal_says_who_and_why_and_not_the_key(
    status: int, message: str, code: str, kind: type[EngineError]
) -> None:
    async with speaking_to(refuses(status, message)) as (responder, chat):
        with pytest.raises(kind) as caught:
            await answer_of(responder)
        assert (caught.value.code, type(caught.value)) == (code, kind)
        assert chat.url in str(caught.value)
        assert KEY not in str(caught.value)
        assert message.replace(KEY, "***") in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
        assert len(chat.requests) == 1


async def test_an_error_in_the_middle_of_the_stream() -> None:
    async def failing(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.say("Well")
        await exchange.event({"error": {"message": f"CUDA out of memory, {KEY}", "code": 500}})
        await exchange.gone()

    error = await _error_after(failing, "Well")
    assert (error.code, KEY in str(error)) == ("llm_failed", False)


@pytest.mark.parametrize("garbage", ["{not json", "[]", "42", '"text"', "[" * 100_000])
async def test_garbage_is_an_error(garbage: str) -> None:
    async def babbling(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.say("Well")
        await exchange.event(garbage)
        await exchange.gone()

    error = await _error_after(babbling, "Well")
    assert error.code == "llm_bad_answer"


async def test_a_page_instead_of_a_stream_is_an_error() -> None:
    async def page(exchange: Exchange) -> None:
        await exchange.whole(200, "<html><body>It works!</body></html>", "text/html")

    assert (await _error_after(page, "")).code == "llm_bad_answer"


async def test_a_connection_that_breaks_in_the_middle() -> None:
    async def crashing(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.say("Well")
        exchange.reset()

    async def leaving(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.say("Well")
        exchange.close()

    async def ending_early(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.say("Well")
        await exchange.raw(b"0\r\n\r\n")

    for answer in (crashing, leaving, ending_early):
        error = await _error_after(answer, "Well")
        assert (error.code, error.retryable) == ("llm_broke_off", True)


async def test_a_server_that_only_ever_resets_is_tried_twice() -> None:
    async def crash(exchange: Exchange) -> None:
        exchange.reset()

    async with speaking_to(crash) as (responder, chat):
        with pytest.raises(EngineLost) as caught:
            await answer_of(responder)
        assert caught.value.code == "llm_unreachable"
        assert len(chat.requests) == 2


async def test_a_server_that_is_silent_before_or_in_its_answer() -> None:
    async def silent(exchange: Exchange) -> None:
        await exchange.gone()

    async def reading(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.delta(role="assistant", content="")
        await exchange.gone()

    async def stuck(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.say("Well")
        await exchange.gone()

    for answer, said in ((silent, ""), (reading, ""), (stuck, "Well")):
        error = await _error_after(answer, said, patience=SHORT)
        assert error.code == "llm_timed_out"
        assert ("first" in error.message) == (not said)


async def test_a_slow_listener_is_no_slow_server() -> None:
    """The wait for the next word begins when it is asked for."""

    async def prompt_server(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.say("One", " two")
        await exchange.end()

    patience = Patience(next_s=0.02)
    async with speaking_to(prompt_server, patience=patience) as (responder, _):
        stream = responder.respond(prompt())
        await anext(stream)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.03):
                await asyncio.Event().wait()
        assert text_of([delta async for delta in stream]) == " two"


async def _error_after(answer: Answer, said: str, **how: Any) -> EngineError:
    """What is raised, after what was said."""
    heard: list[Delta] = []

    async def listen(responder: OpenAIResponder) -> None:
        async for delta in responder.respond(prompt()):
            heard.append(delta)  # noqa: PERF401 - what came before the error counts

    async with speaking_to(answer, **how) as (responder, _):
        with pytest.raises(EngineError) as caught:
            await listen(responder)
    assert text_of(heard) == said
    assert KEY not in str(caught.value)
    return caught.value


# --- giving up ---
async def test_closing_the_answer_closes_the_connection_at_once() -> None:
    noticed: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def endless(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.say("On", " and", " on")
        await exchange.gone()
        noticed.set_result(time.monotonic())

    async with speaking_to(endless) as (responder, _):
        async with aclosing(responder.respond(prompt())) as stream:  # type: ignore[type-var]
            await anext(stream)
            closed_at = time.monotonic()
        returned_at = time.monotonic()
        assert await noticed - closed_at < 0.05
        assert returned_at - closed_at < 0.05


@pytest.mark.parametrize("said", [(), ("Well",)], ids=["before the first word", "after it"])
async def test_cancelling_the_task_closes_the_connection_at_once(said: tuple[str, ...]) -> None:
    arrived = asyncio.Event()
    noticed = asyncio.Event()

    async def endless(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.say(*said)
        arrived.set()
        await exchange.gone()
        noticed.set()

    async with speaking_to(endless) as (responder, _):
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(answer_of(responder))
            await arrived.wait()
            task.cancel()
            async with asyncio.timeout(0.05):
                await noticed.wait()
        assert task.cancelled()


async def test_nothing_is_left_behind() -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.say(*["on"] * 50)
        await exchange.gone()

    async with speaking_to(endless) as (responder, chat):
        before = asyncio.all_tasks()
        for _ in range(20):
            async with aclosing(responder.respond(prompt())) as stream:  # type: ignore[type-var]
                await anext(stream)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(chat.requests) == 20
        served = {task for task in asyncio.all_tasks() if "_serve" in repr(task)}
        assert asyncio.all_tasks() - served <= before


async def test_an_answer_that_is_refused_and_then_given() -> None:
    """One session's failure leaves the next answer alone."""
    async with speaking_to(one_by_one(refuses(500, "Oops"), says("Hi"))) as (responder, _):
        with pytest.raises(EngineLost):
            await answer_of(responder)
        assert text_of(await answer_of(responder)) == "Hi"
