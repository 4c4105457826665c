"""Items as plain values and back: nothing of them is lost."""

import json

import pytest

from duologue.core.conversation import (
    ApprovalAnswer,
    ApprovalRequest,
    FunctionCall,
    FunctionResult,
    Item,
    Message,
    Part,
    ServerCall,
    ToolList,
)
from duologue.core.item_json import KINDS, from_json, kind_of, text_of, to_json
from duologue.core.playout import SpokenText
from duologue.core.tool_servers import CallError, ListedTool

ITEMS: list[tuple[Item, str]] = [
    (Message("i1", "user", (Part("input_audio", None),)), ""),
    (Message("i2", "user", (Part("input_text", "a"), Part("input_audio", "b"))), "a b"),
    (Message("i3", "assistant", (Part("output_text", "so"),), "incomplete"), "so"),
    (FunctionCall("i4", "call_1", "dice", '{"sides": 6}', "in_progress"), 'dice {"sides": 6}'),
    (FunctionResult("i5", "call_1", "4"), "4"),
    (ToolList("i6", "shop", (ListedTool("buy", "Buys.", {"type": "object"}, {"a": True}),)), ""),
    (ServerCall("i7", "shop", "buy", "{}", output="bought", approval_id="i9"), "buy {} bought"),
    (ServerCall("i8", "shop", "buy", "", error=CallError("http_error", "no", 500)), "buy"),
    (ApprovalRequest("i9", "shop", "buy", "{}"), ""),
    (ApprovalAnswer("i10", "i9", approved=False, reason="too dear"), ""),
]


@pytest.mark.parametrize(("item", "text"), ITEMS, ids=lambda value: getattr(value, "id", "-"))
def test_an_item_comes_back_as_it_was(item: Item, text: str) -> None:
    assert from_json(json.loads(json.dumps(to_json(item)))) == item
    assert text_of(item) == text


def test_every_kind_is_known() -> None:
    assert {kind_of(item) for item, _ in ITEMS} == set(KINDS)


def test_where_words_lie_on_their_sound_comes_back() -> None:
    spoken = SpokenText()
    spoken.add_sound(spoken.add_piece("It is, it "), 900.0, ((0.0, 0), (300.0, 3), (700.0, 7)))
    spoken.add_sound(spoken.add_piece("is late."), 800.0)
    spoken.finish()
    item = Message("i", "assistant", (Part("output_audio", "It is, it is", spoken, 1700.0),))
    back = from_json(json.loads(json.dumps(to_json(item))))
    assert isinstance(back, Message)
    (part,) = back.parts
    assert (part.text, part.sent_ms) == ("It is, it is", 1700.0)
    assert part.spoken is not None
    assert part.spoken.duration_ms == spoken.duration_ms
    for ms in range(0, 1800, 50):
        assert part.spoken.heard_until(ms) == spoken.heard_until(ms)


@pytest.mark.parametrize(
    "doc",
    [
        {},
        {"type": "video", "id": "i"},
        {"type": "message", "id": "i"},
        {"type": "message", "id": "i", "role": "user", "parts": [{"kind": "input_text"}]},
        {"type": "function_call_output", "id": "i", "call_id": "c", "output": "", "later": 1},
    ],
)
def test_what_is_no_item_is_refused(doc: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no item"):
        from_json(doc)
