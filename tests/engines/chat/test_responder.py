import asyncio

import pytest

from duologue.core.conversation import FunctionCall, Message, Part
from duologue.core.options import ReplyOptions, Tool
from duologue.ports import CallDelta, CutShort, Prompt, Spent, TextDelta
from tests.engines.chat.chat_server import (
    Exchange,
    says,
    sends,
)
from tests.engines.chat.chat_talk import KEY, answer_of, answer_to, prompt, speaking_to, text_of

WEATHER = Tool(
    "weather", "of a place", {"type": "object", "properties": {"in": {"type": "string"}}}
)


async def test_an_answer_comes_as_it_is_generated() -> None:
    deltas = await answer_to(says("Hello", " there."))
    assert deltas == [TextDelta("Hello"), TextDelta(" there."), Spent(11, 3)]


async def test_the_request_holds_the_conversation_and_the_options() -> None:
    wanted = prompt(
        "what is the weather",
        instructions="Be brief.",
        tools=(WEATHER,),
        tool_choice="weather",
        max_output_tokens=50,
    )
    async with speaking_to() as (responder, chat):
        deltas = await answer_of(responder, wanted)
        request = chat.requests[0]
    assert text_of(deltas) == "You said: what is the weather "
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "what is the weather"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 50,
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "description": "of a place",
                    "parameters": WEATHER.parameters,
                },
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
    }


async def test_nothing_of_the_environment_goes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "from-the-environment")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with speaking_to(key="") as (responder, chat):
        await answer_of(responder)
    assert "from-the-environment" not in str(chat.requests[0].headers)


async def test_a_word_is_passed_on_while_the_next_is_not_there_yet() -> None:
    go_on = asyncio.Event()

    async def slowly(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.say("One")
        await go_on.wait()
        await exchange.say(" two")
        await exchange.end()

    async with speaking_to(slowly) as (responder, _):
        stream = responder.respond(prompt())
        assert await anext(stream) == TextDelta("One")
        go_on.set()
        assert text_of([delta async for delta in stream]) == " two"


@pytest.mark.parametrize(
    ("reason", "cut"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
async def test_an_answer_that_met_a_limit_says_so(reason: str, cut: str) -> None:
    deltas = await answer_to(says("Once upon", reason=reason))
    assert deltas[-1] == CutShort(cut)


async def test_tokens_that_were_cached_are_counted() -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 7},
    }
    assert (await answer_to(says("Hi", usage=usage)))[-1] == Spent(9, 2, 7)


async def test_calls_are_streamed() -> None:
    async def calls(exchange: Exchange) -> None:
        await exchange.begin()
        first = {"index": 0, "id": "call_a", "function": {"name": "weather", "arguments": ""}}
        await exchange.delta(role="assistant", content=None, tool_calls=[first])
        for part in ('{"in"', ': "Rome"}'):
            await exchange.delta(tool_calls=[{"index": 0, "function": {"arguments": part}}])
        await exchange.end("tool_calls")

    assert await answer_to(calls, prompt(tools=(WEATHER,))) == [
        CallDelta("call_a", "weather", ""),
        CallDelta("call_a", "weather", '{"in"'),
        CallDelta("call_a", "weather", ': "Rome"}'),
    ]


async def test_thoughts_are_not_spoken_however_they_come() -> None:
    words = ["\n", "<", "think>I must", " say </", "think>", "\n\nHello", "."]
    deltas = await answer_to(says(*words))
    assert text_of(deltas) == "Hello."
    apart = sends(
        {"choices": [{"index": 0, "delta": {"reasoning_content": "I must say"}}]},
        {"choices": [{"index": 0, "delta": {"reasoning": "hello"}}]},
        {"choices": [{"index": 0, "delta": {"content": "Hello."}}]},
    )
    assert text_of(await answer_to(apart)) == "Hello."


async def test_thoughts_whose_beginning_is_never_sent_are_learned_from_one_answer_for_the_next() -> (
    None
):
    async with speaking_to(says("I must say hello", "</think>", "Hello.")) as (responder, chat):
        await answer_of(responder)
        assert text_of(await answer_of(responder)) == "Hello."
        chat.answer = says("Hello", ".")  # a model that can do either
        assert text_of(await answer_of(responder)) == "Hello."
        stream = responder.respond(prompt())
        assert await anext(stream) == TextDelta("Hello")
        await stream.aclose()  # type: ignore[attr-defined]


# --- what servers do not take ---
async def test_usage_is_not_asked_for_again_where_it_was_refused() -> None:
    async def choosy(exchange: Exchange) -> None:
        if "stream_options" in exchange.request.body:
            await exchange.json(
                422, {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs"}]}
            )
        else:
            await says("Hi")(exchange)

    async with speaking_to(choosy) as (responder, chat):
        assert await answer_of(responder) == [TextDelta("Hi")]
        assert await answer_of(responder) == [TextDelta("Hi")]
        assert ["stream_options" in r.body for r in chat.requests] == [True, False, False]


async def test_the_newer_name_of_the_limit_is_learned() -> None:
    async def newer(exchange: Exchange) -> None:
        if "max_tokens" in exchange.request.body:
            await exchange.refuse(
                400,
                "Unsupported parameter: use 'max_completion_tokens' instead.",
                param="max_tokens",
            )
        else:
            await says("Hi")(exchange)

    async with speaking_to(newer) as (responder, chat):
        assert text_of(await answer_of(responder, prompt(max_output_tokens=9))) == "Hi"
        assert chat.requests[-1].body["max_completion_tokens"] == 9


async def test_a_connection_that_the_server_closed_between_turns_costs_no_turn() -> None:
    async with speaking_to(says("Hi"), hang_up=True) as (responder, chat):
        for _ in range(5):
            assert text_of(await answer_of(responder)) == "Hi"
        assert len(chat.requests) == 5


async def test_a_connection_is_kept_for_the_next_turn() -> None:
    async with speaking_to(says("Hi")) as (responder, chat):
        before = chat.connections
        for _ in range(5):
            await answer_of(responder)
        assert chat.connections == before + 1


async def test_many_answers_at_a_time() -> None:
    async with speaking_to() as (responder, _):
        async with asyncio.TaskGroup() as tasks:
            answers = [
                tasks.create_task(answer_of(responder, prompt(f"number {n}"))) for n in range(40)
            ]
        assert [text_of(task.result()) for task in answers] == [
            f"You said: number {n} " for n in range(40)
        ]


async def test_a_broken_call_of_the_past_is_not_repeated() -> None:
    items = (
        Message("i1", "user", (Part("input_text", "turn it on"),)),
        FunctionCall("i2", "call_1", "light", '{"on": tr', "incomplete"),
    )
    async with speaking_to() as (responder, chat):
        await answer_of(responder, Prompt(items, ReplyOptions()))
        assert chat.requests[0].body["messages"] == [{"role": "user", "content": "turn it on"}]
