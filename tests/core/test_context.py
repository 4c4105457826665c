"""What of a long conversation is shown: the newest that fits, seldom cut, never a result without its call."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.context import CHARS_PER_TOKEN, ITEM_TOKENS, Truncation, Window, tokens
from duologue.core.conversation import (
    FunctionCall,
    FunctionResult,
    Item,
    Message,
    Part,
    ServerCall,
    ToolList,
)
from duologue.core.errors import EngineRefused
from duologue.core.tool_servers import CallError


def said(number: int, size: int = 10, role: str = "user") -> Message:
    """A message of so many tokens."""
    text = "x" * ((size - ITEM_TOKENS) * CHARS_PER_TOKEN)
    return Message(f"m{number}", role, (Part("input_text", text),))  # type: ignore[arg-type]


def ids(items: tuple[Item, ...]) -> list[str]:
    return [item.id for item in items]


TEN = tuple(said(n) for n in range(10))


def test_what_fits_is_shown_whole() -> None:
    assert Window().fit(TEN, Truncation(), 100) == TEN
    assert Window().fit((), Truncation(), 100) == ()


def test_the_oldest_go_first() -> None:
    assert ids(Window().fit(TEN, Truncation(), 35)) == ["m7", "m8", "m9"]


def test_the_last_is_shown_even_if_it_alone_is_too_long() -> None:
    assert ids(Window().fit((*TEN, said(10, 90)), Truncation(), 50)) == ["m10"]


def test_a_ratio_drops_more_at_a_time_and_so_less_often() -> None:
    window, keep_half = Window(), Truncation(keep=0.5)
    assert ids(window.fit(TEN, keep_half, 95)) == ["m6", "m7", "m8", "m9"]
    more = (*TEN, *(said(n) for n in range(10, 15)))
    assert ids(window.fit(more, keep_half, 95))[0] == "m6"  # the beginning stays as it was
    more = (*more, said(15))
    assert ids(window.fit(more, keep_half, 95))[0] == "m12"


def test_a_cut_whose_item_was_deleted_is_no_cut() -> None:
    window = Window()
    window.fit(TEN, Truncation(), 35)
    rest = tuple(item for item in TEN if item.id != "m7")
    assert ids(window.fit(rest, Truncation(), 100)) == ids(rest)


def test_a_clients_own_limit_counts_where_it_is_the_lower_one() -> None:
    assert len(Window().fit(TEN, Truncation(limit_tokens=20), 100)) == 2
    assert len(Window().fit(TEN, Truncation(limit_tokens=1_000), 20)) == 2


def test_dropping_may_be_forbidden() -> None:
    with pytest.raises(EngineRefused, match="35 tokens") as caught:
        Window().fit(TEN, Truncation("disabled"), 35)
    assert caught.value.code == "context_length_exceeded"
    assert Window().fit(TEN, Truncation("disabled"), 100) == TEN


def test_what_the_system_said_is_always_shown() -> None:
    items = (said(0, role="system"), *TEN[1:])
    assert ids(Window().fit(items, Truncation(), 35)) == ["m0", "m7", "m8", "m9"]


def test_a_result_without_its_call_is_not_shown() -> None:
    call = FunctionCall("c", "call_1", "f" * 40, "{}")
    result = FunctionResult("r", "call_1", "y" * 40)
    items = (call, result, said(1), said(2))
    assert (tokens(call), tokens(result)) == (14, 14)
    assert ids(Window().fit(items, Truncation(), 34)) == ["m1", "m2"]
    assert ids(Window().fit(items, Truncation(), 48)) == ["c", "r", "m1", "m2"]


def test_a_lone_result_is_shown_rather_than_nothing() -> None:
    result = FunctionResult("r", "call_1", "y" * 400)
    assert ids(Window().fit((said(1), result), Truncation(), 50)) == ["r"]


@given(
    st.lists(st.integers(ITEM_TOKENS, 60), max_size=30),
    st.integers(1, 300),
    st.sampled_from([1.0, 0.8, 0.3]),
)
def test_what_is_shown_is_the_end_of_the_conversation_and_fits(
    sizes: list[int], limit: int, keep: float
) -> None:
    window, items = Window(), tuple(said(n, size) for n, size in enumerate(sizes))
    for upto in range(1, len(items) + 1):
        shown = window.fit(items[:upto], Truncation(keep=keep), limit)
        assert shown == items[upto - len(shown) : upto]
        assert sum(map(tokens, shown)) <= limit or len(shown) == 1


def test_a_servers_tool_takes_what_it_was_given_and_returned() -> None:
    call = ServerCall("c", "docs", "find", "a" * 36, "b" * 400)
    assert tokens(call) == ITEM_TOKENS + 110
    assert tokens(replace(call, output=None)) == ITEM_TOKENS + 10
    failed = replace(call, output=None, error=CallError("http_error", "c" * 40, 502))
    assert tokens(failed) == ITEM_TOKENS + 20
    assert tokens(ToolList("l", "docs")) == ITEM_TOKENS
