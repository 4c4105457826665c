import pytest

from duologue.core import conversation as module
from duologue.core.conversation import (
    ROOT,
    Conversation,
    FunctionCall,
    FunctionResult,
    Message,
    Part,
)
from duologue.core.errors import StateConflict
from duologue.core.playout import SpokenText


def said(item_id: str, text: str = "hello") -> Message:
    return Message(item_id, "user", (Part("input_text", text),))


def heard(item_id: str) -> Message:
    return Message(item_id, "user", (Part("input_audio", None),))


def answered(item_id: str, text: str = "one two three four", ms: float = 2000) -> Message:
    spoken = SpokenText()
    spoken.add_sound(spoken.add_piece(text), ms)
    spoken.finish()
    return Message(item_id, "assistant", (Part("output_audio", text, spoken, ms),))


def ids(conversation: Conversation) -> list[str]:
    return [item.id for item in conversation]


def test_items_go_to_the_end_or_where_they_are_told() -> None:
    c = Conversation()
    assert c.last_id() is None
    assert c.add(said("a")) is None
    assert c.add(said("b")) == "a"
    assert c.add(said("c"), after="a") == "a"
    assert c.add(said("d"), after=ROOT) is None
    assert ids(c) == ["d", "a", "c", "b"]
    assert (c.last_id(), len(c)) == ("b", 4)


def test_what_cannot_be_is_refused_with_a_code() -> None:
    c = Conversation()
    c.add(said("a"))
    for code, act in (
        ("item_create_duplicate_item_id", lambda: c.add(said("a"))),
        ("item_create_invalid_item_id", lambda: c.add(said("b"), after="zzz")),
        ("item_delete_invalid_item_id", lambda: c.delete("zzz")),
        ("item_retrieve_invalid_item_id", lambda: c.retrieve("zzz")),
        ("item_truncate_invalid_item_id", lambda: c.truncate("zzz", 0, 5)),
        ("unsupported_content_type", lambda: c.truncate("a", 0, 5)),
        ("unsupported_content_type", lambda: c.truncate("a", 7, 5)),
    ):
        with pytest.raises(StateConflict) as caught:
            act()
        assert caught.value.code == code
    assert ids(c) == ["a"]


def test_delete_and_retrieve() -> None:
    c = Conversation()
    c.add(said("a"))
    assert c.retrieve("a") == said("a")
    c.delete("a")
    assert (c.get("a"), ids(c)) == (None, [])


def test_a_transcript_fills_in_the_sound_only() -> None:
    c = Conversation()
    parts = (Part("input_audio", None), Part("input_text", "typed"))
    c.add(Message("a", "user", parts))
    c.transcribe("a", "spoken")
    item = c.retrieve("a")
    assert isinstance(item, Message)
    assert item.text == "spoken typed"
    c.transcribe("gone", "x")
    assert heard("b").text == ""


def test_an_answer_is_cut_to_what_was_heard_and_no_further() -> None:
    c = Conversation()
    c.add(answered("a"))
    assert c.truncate("a", 0, 1100) == 1100
    item = c.retrieve("a")
    assert isinstance(item, Message)
    assert item.text == "one two"
    assert c.truncate("a", 0, 5000) == 1100
    assert c.truncate("a", 0, 0) == 0
    assert c.retrieve("a").text == ""  # type: ignore[union-attr]


def test_put_replaces_but_does_not_bring_back() -> None:
    c = Conversation()
    c.add(said("a"))
    c.put(said("a", "other"))
    c.put(said("gone"))
    assert [i.text for i in c if isinstance(i, Message)] == ["other"]


def test_functions_are_items_too() -> None:
    c = Conversation()
    c.add(FunctionCall("f", "call_1", "lamp", "{}"))
    c.add(FunctionResult("r", "call_1", "on"))
    assert ids(c) == ["f", "r"]
    with pytest.raises(StateConflict):
        c.truncate("f", 0, 1)


def test_the_oldest_leave_a_conversation_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ITEMS", 3)
    c = Conversation()
    for name in "abcde":
        c.add(said(name))
    assert ids(c) == ["c", "d", "e"]


def test_text_is_bounded_and_the_oldest_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duologue.core.conversation.MAX_CHARS", 100)
    monkeypatch.setattr("duologue.core.conversation.MAX_ITEM_CHARS", 60)
    kept = Conversation()
    for number in range(3):
        kept.add(Message(f"m{number}", "user", (Part("input_text", "x" * 40),)))
    assert [item.id for item in kept] == ["m1", "m2"]
    kept.transcribe("m1", "ignored")
    kept.put(Message("m2", "user", (Part("input_text", "y"),)))
    kept.add(Message("m3", "user", (Part("input_text", "x" * 50),)))
    assert [item.id for item in kept] == ["m1", "m2", "m3"]  # the shorter one made room
    with pytest.raises(StateConflict) as caught:
        kept.add(Message("m4", "user", (Part("input_text", "x" * 61),)))
    assert caught.value.code == "item_too_long"
