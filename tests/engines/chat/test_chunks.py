from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.engines.chat.chunks import ChunkReader, NotAChunk, is_bare
from duologue.engines.chat.thoughts import ThoughtFilter
from duologue.ports import CallDelta, CutShort, Delta, Spent, TextDelta


def read(*deltas: dict[str, Any], finish: str | None = None) -> list[Delta]:
    """An answer of these deltas."""
    chunks: list[Any] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    return read_chunks(*chunks, {"choices": [{"delta": {}, "finish_reason": finish or "stop"}]})


def read_chunks(*chunks: Any) -> list[Delta]:
    numbers = count(1)
    reader = ChunkReader(ThoughtFilter(), lambda: f"own_{next(numbers)}")
    return [delta for chunk in chunks for delta in reader.read(chunk)] + reader.finish()


def part(name: str = "", arguments: Any = "", **more: Any) -> dict[str, Any]:
    function = {"name": name} if name else {}
    return {"tool_calls": [{"function": {**function, "arguments": arguments}, **more}]}


def calls(deltas: list[Delta]) -> dict[str, tuple[str, str]]:
    """Name and arguments of the calls, by id."""
    found: dict[str, tuple[str, str]] = {}
    for delta in deltas:
        assert isinstance(delta, CallDelta)
        name, arguments = found.get(delta.call_id, (delta.name, ""))
        assert delta.call_id not in found or delta.name in ("", name)
        found[delta.call_id] = (name, arguments + delta.arguments)
    return found


def test_parallel_calls_are_told_apart_by_index() -> None:
    deltas = read(
        part("light", "", index=0, id="a"),
        part("music", "", index=1, id="b"),
        part("", '{"on"', index=0),
        part("", '{"p": 1}', index=1),
        part("", ": true}", index=0),
        finish="tool_calls",
    )
    assert calls(deltas) == {"a": ("light", '{"on": true}'), "b": ("music", '{"p": 1}')}


def test_whole_calls_without_ids_or_indices() -> None:
    deltas = read(part("light", '{"n": 1}'), part("light", '{"n": 2}'), part("music", "{}"))
    assert calls(deltas) == {
        "own_1": ("light", '{"n": 1}'),
        "own_2": ("light", '{"n": 2}'),
        "own_3": ("music", "{}"),
    }


def test_calls_with_one_index_and_different_ids() -> None:
    deltas = read(part("light", "{}", index=0, id="a"), part("music", "{}", index=0, id="b"))
    assert calls(deltas) == {"a": ("light", "{}"), "b": ("music", "{}")}


def test_a_fresh_id_in_every_piece_is_still_one_call() -> None:
    deltas = read(part("light", '{"a"', index=0, id="x1"), part("", ": 1}", index=0, id="x2"))
    assert calls(deltas) == {"x1": ("light", '{"a": 1}')}


def test_calls_with_one_id_and_different_indices_get_an_id_each() -> None:
    deltas = read(part("light", "{}", index=0, id="a"), part("music", "{}", index=1, id="a"))
    assert calls(deltas) == {"a": ("light", "{}"), "own_1": ("music", "{}")}


def test_a_name_that_is_repeated_or_comes_late() -> None:
    repeated = read(part("light", '{"a"', index=0, id="x"), part("light", ": 1}", index=0, id="x"))
    assert calls(repeated) == {"x": ("light", '{"a": 1}')}
    late = read(part("", '{"a"', index=0, id="x"), part("light", ": 1}", index=0))
    assert late == [CallDelta("x", "light", '{"a": 1}')]


def test_arguments_as_an_object_and_none_at_all() -> None:
    assert calls(read(part("light", {"on": True}, index=0))) == {"own_1": ("light", '{"on": true}')}
    assert calls(read(part("light", None, index=0, id="x"))) == {"x": ("light", "{}")}


def test_a_call_without_a_name_is_none() -> None:
    assert read(part("", "{}", index=0, id="x")) == []


def test_text_and_calls_in_one_answer() -> None:
    deltas = read({"content": "One moment."}, part("light", "{}", index=0, id="x"))
    assert deltas == [TextDelta("One moment."), CallDelta("x", "light", "{}")]


def test_text_in_other_shapes() -> None:
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hello."}]
    assert read({"content": parts}) == [TextDelta("Hello.")]
    assert read({"content": None, "refusal": "I will not."}) == [TextDelta("I will not.")]
    whole = {"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}]}
    assert read_chunks(whole) == [TextDelta("Hi.")]


def test_only_the_first_choice_counts() -> None:
    chunk = {
        "choices": [
            {"index": 1, "delta": {"content": "No"}},
            {"index": 0, "delta": {"content": "Yes"}},
        ]
    }
    assert read_chunks(chunk) == [TextDelta("Yes")]


def test_usage_may_come_in_every_piece_and_is_told_once() -> None:
    pieces = [
        {"choices": [{"delta": {"content": word}}], "usage": {"prompt_tokens": 5, "completion_tokens": n}}
        for n, word in enumerate("ab", 1)
    ]  # fmt: skip
    assert read_chunks(*pieces) == [TextDelta("a"), TextDelta("b"), Spent(5, 2)]


def test_limits_come_last() -> None:
    assert read({"content": "a"}, finish="length")[-1] == CutShort("max_output_tokens")
    assert read({"content": "a"}, finish="made_up") == [TextDelta("a")]


def test_an_answer_is_finished_when_a_reason_was_given() -> None:
    reader = ChunkReader(ThoughtFilter())
    reader.read({"choices": [{"delta": {"content": "a"}, "finish_reason": None}]})
    assert not reader.is_finished
    reader.read({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    assert reader.is_finished


@pytest.mark.parametrize("chunk", [None, 5, "text", [], [{}]])
def test_what_is_no_object_is_no_chunk(chunk: object) -> None:
    with pytest.raises(NotAChunk):
        ChunkReader(ThoughtFilter()).read(chunk)


def test_a_bare_piece_says_only_that_an_answer_begins() -> None:
    def with_delta(**delta: Any) -> dict[str, Any]:
        return {"choices": [{"delta": delta}]}

    assert is_bare({"choices": []})
    assert is_bare(with_delta(role="assistant", content=""))
    assert not is_bare(with_delta(content="a"))
    assert not is_bare(with_delta(reasoning_content="a"))
    assert not is_bare({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    assert not is_bare("garbage")


KEYS = st.sampled_from(
    "choices delta message content tool_calls function name arguments index id usage prompt_tokens "
    "completion_tokens prompt_tokens_details cached_tokens finish_reason refusal role text type".split()
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(st.dictionaries(KEYS, JSON, max_size=4), max_size=5))
def test_no_object_breaks_the_reader(chunks: list[dict[str, Any]]) -> None:
    for delta in read_chunks(*chunks):
        assert isinstance(delta, TextDelta | CallDelta | Spent | CutShort)
    for chunk in chunks:
        is_bare(chunk)


def test_an_emoji_that_was_cut_in_two_is_whole_again() -> None:
    deltas = read({"content": "Well \ud83d"}, {"content": "\ude00 done"})
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == "Well 😀 done"
    lone = read({"content": "so \ude00 it"}, {"content": "goes \ud83d"})
    text = "".join(d.text for d in lone if isinstance(d, TextDelta))
    assert text.encode()  # it can be sent
    assert text.startswith("so ")
