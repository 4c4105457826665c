"""The server's side of a language model's process, against one that does as it is told: no torch is needed."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from duologue.core.conversation import FunctionCall, FunctionResult
from duologue.core.errors import (
    AtCapacity,
    EngineLost,
    EngineOutOfMemory,
    EngineUnavailable,
    OurError,
    SetupError,
)
from duologue.engines.local_llm import responder as room
from duologue.engines.local_llm.responder import MAX_WAITING, SPEC, TransformersResponder
from duologue.ports import CutShort, Spent, TextDelta
from tests.engines.local_llm.asking import all_of, message, prompt, stream, words

CHILD = "tests.engines.local_llm.scripted_child"


def made(argument: str = "m", patience_s: float = 20) -> TransformersResponder:
    return TransformersResponder(
        argument, verdicts=Path("nowhere"), patience_s=patience_s, child=CHILD
    )


@pytest.fixture(scope="module")
def responder() -> Iterator[TransformersResponder]:
    it = made()
    it.load()
    it.warm_up()
    yield it
    asyncio.run(it.aclose())
    assert not any(thread.name.startswith("llm-") for thread in threading.enumerate())


async def test_an_answer_streams_and_is_counted(responder: TransformersResponder) -> None:
    told = await all_of(responder, prompt("how are you", 3, system="Be brief."))
    assert told == [
        *(TextDelta("how "), TextDelta("are "), TextDelta("you ")),
        Spent(2, 3),
        CutShort("max_output_tokens"),
    ]
    assert await all_of(responder, prompt("well", None)) == [TextDelta("well "), Spent(1, 1)]


async def test_what_the_process_logs_is_in_the_servers_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    it = made()
    await asyncio.to_thread(it.load)
    await it.aclose()
    assert "it says something for the log" in caplog.text


async def test_results_of_functions_are_told_and_calls_are_not() -> None:
    before = (
        message("user", "What time is it?", 1),
        FunctionCall("call", "call_1", "clock", "{}"),
        FunctionResult("result", "call_1", "noon"),
    )
    assert room._lines(prompt("And now?", None, *before, system="Be brief.")) == [
        ("system", "Be brief."),
        ("user", "What time is it?"),
        ("user", "(Result: noon)"),
        ("user", "And now?"),
    ]


def test_of_a_conversation_of_hours_only_the_end_is_sent() -> None:
    lines = [("system", "Be brief."), *[("user", "x" * 100)] * 50, ("user", "And now?")]
    sent = room._fitting(lines, 250)
    assert sent == [("system", "Be brief."), *[("user", "x" * 100)] * 3, ("user", "And now?")]
    assert room._fitting(lines[:3], 1_000) == lines[:3]


async def test_answers_are_found_in_the_order_in_which_they_were_asked_for(
    responder: TransformersResponder,
) -> None:
    order: list[int] = []

    async def one(number: int) -> None:
        await all_of(responder, prompt(f"number {number}"))
        order.append(number)

    async with asyncio.TaskGroup() as tasks, stream(responder, prompt("talk")) as at_work:
        await anext(at_work)
        for number in range(MAX_WAITING):
            tasks.create_task(one(number))
            await asyncio.sleep(0)
        await at_work.aclose()
    assert order == list(range(MAX_WAITING))


async def test_more_than_can_wait_are_refused_at_once_and_who_left_makes_room(
    responder: TransformersResponder,
) -> None:
    async with asyncio.TaskGroup() as tasks, stream(responder, prompt("talk")) as at_work:
        await anext(at_work)
        waiting = [tasks.create_task(all_of(responder, prompt("so"))) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(AtCapacity):
            await all_of(responder, prompt("one too many"))
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        last = tasks.create_task(all_of(responder, prompt("there is room")))
        await asyncio.sleep(0)
        await at_work.aclose()
    assert words(last.result()) == "there is room "
    assert not responder._jobs


@pytest.mark.parametrize(
    ("word", "kind", "code"),
    [
        ("die", EngineOutOfMemory, "llm_process_killed"),
        ("exit", EngineLost, "llm_process_lost"),
        ("garbage", EngineLost, "llm_process_lost"),
    ],
)
async def test_a_process_that_dies_costs_its_answers_and_is_started_again(
    responder: TransformersResponder, word: str, kind: type[Exception], code: str
) -> None:
    async with asyncio.TaskGroup() as tasks:
        dying = tasks.create_task(_failed(responder, word))
        behind = tasks.create_task(_failed(responder, "behind it"))
    assert type(dying.result()) is kind
    assert dying.result().code == code
    assert behind.result().code == code
    assert words(await all_of(responder, prompt("there again"))) == "there again "


async def _failed(responder: TransformersResponder, text: str) -> Any:
    with pytest.raises(EngineLost) as caught:
        await all_of(responder, prompt(text))
    return caught.value


async def test_a_failure_costs_one_answer(responder: TransformersResponder) -> None:
    process = responder._process
    assert type(await _failed(responder, "full")) is EngineOutOfMemory
    assert (await _failed(responder, "bug")).code == "engine_broke"
    assert words(await all_of(responder, prompt("still there"))) == "still there "
    assert responder._process is process


async def test_a_process_that_hangs_is_ended_and_started_again() -> None:
    it = made(patience_s=0.2)
    await asyncio.to_thread(it.load)
    assert (await _failed(it, "hang")).code == "llm_too_slow"
    process = it._process
    assert process is not None
    await asyncio.to_thread(process._reader.join)
    assert words(await all_of(it, prompt("there again"))) == "there again "
    await it.aclose()


async def test_who_waits_for_others_is_not_given_up(responder: TransformersResponder) -> None:
    process = responder._process
    assert process is not None
    it = made(patience_s=0.1)
    it._process, it._numbers = process, responder._numbers
    it._jobs = responder._jobs
    async with stream(responder, prompt("talk")) as at_work:
        await anext(at_work)
        async with asyncio.TaskGroup() as tasks:
            patient = tasks.create_task(all_of(it, prompt("patient")))
            await asyncio.sleep(0)
            process.heard_at += 1_000  # as if the other went on speaking
            async with asyncio.timeout(5):
                while not patient.done() and process.is_alive:
                    await asyncio.sleep(0.25)
                    await at_work.aclose()
    assert words(patient.result()) == "patient "


@pytest.mark.parametrize(
    ("argument", "code"), [("missing", "gone"), ("dead", "engine_start_failed")]
)
def test_a_process_that_does_not_start_is_told(argument: str, code: str) -> None:
    it = made(argument)
    with pytest.raises(EngineUnavailable) as caught:
        it.load()
    assert caught.value.code == code


def test_a_model_that_is_not_there_is_told_by_the_real_process(tmp_path: Path) -> None:
    it = TransformersResponder(str(tmp_path / "nowhere"))
    with pytest.raises(EngineUnavailable) as caught:
        it.load()
    assert caught.value.code == "model_folder_missing"


async def test_closing_breaks_off_what_is_not_over() -> None:
    it = made()
    await asyncio.to_thread(it.load)
    async with stream(it, prompt("talk")) as deltas:
        await anext(deltas)
        await it.aclose()
        with pytest.raises(EngineLost, match="closed"):
            async for _ in deltas:
                pass
    with pytest.raises(OurError):
        await all_of(it, prompt())


def test_a_wrong_argument_is_told_before_anything_is_started() -> None:
    with pytest.raises(SetupError):
        SPEC.make("m?heat=1")
    assert SPEC.capabilities.holds_gil
    assert SPEC.locate is not None
