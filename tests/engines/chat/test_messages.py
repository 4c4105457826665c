import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.conversation import (
    ApprovalAnswer,
    ApprovalRequest,
    Conversation,
    FunctionCall,
    FunctionResult,
    Item,
    Message,
    Part,
    ServerCall,
    ToolList,
)
from duologue.core.options import ReplyOptions, Tool
from duologue.core.playout import SpokenText
from duologue.core.tool_servers import CallError
from duologue.engines.chat.messages import INTERRUPTED, NO_RESULT, SILENCE, messages, request_body
from duologue.engines.text.speakable import speakable
from duologue.ports import Prompt


def user(text: str | None) -> Item:
    return Message("u", "user", (Part("input_audio", text),))


def ours(text: str) -> Item:
    return Message("a", "assistant", (Part("output_audio", text),))


def cut(text: str) -> Item:
    return Message("a", "assistant", (Part("output_audio", text),), "incomplete")


def call(call_id: str, arguments: str = "{}", **more: Any) -> Item:
    return FunctionCall(f"item_{call_id}", call_id, "light", arguments, **more)


def result(call_id: str, output: str = "done") -> Item:
    return FunctionResult(f"result_{call_id}", call_id, output)


def lookup(item_id: str, **more: Any) -> Item:
    return ServerCall(item_id, "docs", "look.up", '{"q": 1}', **more)


BETWEEN: list[Item] = [
    ToolList("l", "docs"),
    ApprovalRequest("r", "docs", "look.up", "{}"),
    ApprovalAnswer("y", "r", True),
]


def roles(items: Sequence[Item]) -> list[str]:
    return [message["role"] for message in messages(items)]


def test_what_was_heard_is_what_was_said_and_where_it_was_cut_off_is_marked() -> None:
    items = [user("tell me a story"), cut("Once upon "), user("stop")]
    assert messages(items, "Be brief.") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "tell me a story"},
        {"role": "assistant", "content": "Once upon" + INTERRUPTED},
        {"role": "user", "content": "stop"},
    ]


def test_of_which_no_word_was_heard_was_never_said() -> None:
    items = [user("tell me a story"), cut(""), user("about a fox")]
    assert messages(items) == [{"role": "user", "content": "tell me a story\nabout a fox"}]


def spoken(heard_ms: float) -> Item:
    """Four words of 250 ms each; the client said later how much of it it played."""
    text = SpokenText()
    text.add_sound(text.add_piece("Once upon a time"), 1000)
    text.finish()
    part = Part("output_audio", text.text, text, 1000.0)
    conversation = Conversation()
    conversation.add(Message("a", "assistant", (part,)))
    if heard_ms:
        conversation.truncate("a", 0, int(heard_ms))
    return conversation.retrieve("a")


def test_a_cut_that_the_client_tells_of_later_is_marked_too() -> None:
    contents = [messages([spoken(ms), user("x")])[1]["content"] for ms in (0, 999, 600)]
    assert contents == ["Once upon a time", "Once upon a time", "Once upon" + INTERRUPTED]


def test_only_our_own_words_are_marked() -> None:
    theirs = Message("u", "user", (Part("input_text", "well"),), "incomplete")
    assert messages([theirs])[0]["content"] == "well"


def test_a_model_that_imitates_the_mark_is_not_heard_to() -> None:
    assert not speakable(INTERRUPTED)


def test_silence_is_left_out_and_neighbours_become_one() -> None:
    items = [user("hello"), ours(""), user(None), user("are you there"), user("  ")]
    assert messages(items) == [{"role": "user", "content": "hello\nare you there"}]


def test_parts_of_one_message_belong_together() -> None:
    parts = (Part("input_text", "look"), Part("input_audio", None), Part("input_audio", "at this"))
    assert messages([Message("u", "user", parts)])[0]["content"] == "look at this"


def test_a_system_message_in_the_middle_stays_there() -> None:
    note = Message("s", "system", (Part("input_text", "It is dark now."),))
    assert roles([user("hello"), ours("Hi."), note, user("light")]) == [
        "user",
        "assistant",
        "system",
        "user",
    ]


@pytest.mark.parametrize("instructions", ["", "Greet the user."])
def test_where_nobody_has_spoken_the_user_is_said_to_be_silent(instructions: str) -> None:
    assert messages([], instructions)[-1] == {"role": "user", "content": SILENCE}
    assert [m["role"] for m in messages([ours("Hello!"), user("hi")], instructions)][-3:] == [
        "user",
        "assistant",
        "user",
    ]


def test_a_call_belongs_to_the_words_before_it() -> None:
    chat = messages([user("light"), ours("One moment."), call("c1"), result("c1", "on")])
    assert chat[1] == {
        "role": "assistant",
        "content": "One moment.",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "light", "arguments": "{}"}}
        ],
    }
    assert chat[2] == {"role": "tool", "tool_call_id": "c1", "content": "on"}


def test_parallel_calls_and_calls_one_after_the_other() -> None:
    both = messages([user("x"), call("c1"), call("c2"), result("c2", "two"), result("c1", "one")])
    assert [m["role"] for m in both] == ["user", "assistant", "tool", "tool"]
    assert [m["content"] for m in both[2:]] == ["one", "two"]
    in_turn = [user("x"), call("c1"), result("c1"), call("c2"), result("c2")]
    assert roles(in_turn) == ["user", "assistant", "tool", "assistant", "tool"]


def test_a_result_is_moved_to_its_call_over_what_was_said_meanwhile() -> None:
    items = [user("light"), call("c1"), user("and hurry"), result("c1", "on")]
    chat = messages(items)
    assert [m["role"] for m in chat] == ["user", "assistant", "tool", "user"]
    assert chat[2]["content"] == "on"


def test_a_call_without_a_result_says_so() -> None:
    assert messages([user("light"), call("c1"), user("well")])[2]["content"] == NO_RESULT


def test_what_has_no_partner_or_was_broken_off_is_left_out() -> None:
    items = [
        result("c0"),
        user("light"),
        call("c1", '{"a', status="incomplete"),
        call("c2"),
        call("c2"),
        result("c2"),
        result("c2", "the later word counts"),
    ]
    chat = messages(items)
    assert [m["role"] for m in chat] == ["user", "assistant", "tool"]
    assert chat[2]["content"] == "the later word counts"


def test_tools_of_servers_are_calls_like_any_other() -> None:
    request, answer = BETWEEN[1:]
    items = [
        BETWEEN[0],
        user("look it up"),
        ours("Wait."),
        call("c1"),
        lookup("s1", output="found"),
        request,
        lookup("s2", error=CallError("http_error", "no", 502)),
        lookup("s3", status="in_progress"),
        lookup("s4", status="incomplete"),
        answer,
        result("c1"),
    ]
    chat = messages(items)
    assert roles(items) == ["user", "assistant", "tool", "tool", "tool", "tool"]
    assert [made["id"] for made in chat[1]["tool_calls"]] == ["c1", "s1", "s2", "s3"]
    assert chat[1]["tool_calls"][1]["function"] == {"name": "look_up", "arguments": '{"q": 1}'}
    contents = [message["content"] for message in chat[2:]]
    assert contents == ["done", "found", "(This failed: no)", NO_RESULT]


@pytest.mark.parametrize("arguments", ["", "{", "[1]", "null", "[" * 100_000])
def test_arguments_are_always_an_object(arguments: str) -> None:
    made = messages([user("x"), call("c1", arguments)])[1]["tool_calls"]
    assert made[0]["function"]["arguments"] == "{}"


def test_tools_are_offered_only_where_there_are_any() -> None:
    tool = Tool("light", "", {})
    body = request_body(Prompt((user("x"),), ReplyOptions(tools=(tool,))), "m")
    assert body["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert "tool_choice" not in body
    forced = ReplyOptions(tools=(tool,), tool_choice="required")
    assert request_body(Prompt((), forced), "m")["tool_choice"] == "required"
    bare = request_body(Prompt((), ReplyOptions(tool_choice="required")), "m")
    assert not {"tools", "tool_choice", "max_tokens", "temperature"} & bare.keys()


ITEMS = st.lists(
    st.one_of(
        st.sampled_from([user("a"), user(None), ours("b"), cut("d"), ours("")]),
        st.builds(Message, st.just("s"), st.just("system"), st.just((Part("input_text", "c"),))),
        st.builds(
            call,
            st.sampled_from("123"),
            st.sampled_from(["{}", "{"]),
            status=st.sampled_from(["completed", "incomplete", "in_progress"]),
        ),
        st.builds(result, st.sampled_from("1234")),
        st.builds(
            lookup,
            st.sampled_from("567"),
            output=st.sampled_from([None, "found"]),
            status=st.sampled_from(["completed", "incomplete", "in_progress"]),
        ),
        st.sampled_from(BETWEEN),
    ),
    max_size=12,
)


@given(ITEMS)
def test_no_strict_server_can_refuse_it(items: list[Item]) -> None:
    chat = messages(items)
    owed: list[str] = []
    talk = [m for m in chat if m["role"] != "system"]
    assert talk[0]["role"] == "user"
    for before, message in zip([None, *talk], talk, strict=False):
        if message["role"] == "tool":
            assert message["tool_call_id"] == owed.pop(0)
            continue
        assert not owed
        assert message["content"] or message["tool_calls"]
        if before is not None and "tool_calls" not in message:
            assert before["role"] != message["role"] or _has_system_between(chat, before, message)
        owed = [made["id"] for made in message.get("tool_calls", [])]
    assert not owed
    ids = [made["id"] for message in chat for made in message.get("tool_calls", [])]
    assert len(ids) == len(set(ids))
    json.dumps(chat)


def _has_system_between(chat: list[Any], one: Any, other: Any) -> bool:
    places = [at for at, message in enumerate(chat) if message is one or message is other]
    return any(message["role"] == "system" for message in chat[places[0] : places[-1]])


def test_what_was_said_while_a_tool_ran_is_not_what_the_model_goes_on_from() -> None:
    call = FunctionCall("c1", "call_1", "weather", "{}", "completed")
    result = FunctionResult("r1", "call_1", "sunny")
    filler = Message("m1", "assistant", (Part("output_audio", "One moment."),))
    asked = Message("u1", "user", (Part("input_text", "How is the weather?"),))
    roles = [message["role"] for message in messages((asked, call, result, filler))]
    assert roles == ["user", "assistant", "tool"]
