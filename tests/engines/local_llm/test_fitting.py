"""Which part of a conversation is put to the model."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.errors import EngineRefused
from duologue.engines.local_llm.fitting import Line, fitted

SYSTEM = Line("system", "Be brief.")


def encode(lines: Sequence[Line]) -> list[int]:
    """One token a letter, and three marks a message."""
    return [ord(c) for line in lines for c in f"<{line.role[0]}>{line.text}"]


def text_of(tokens: Sequence[int]) -> str:
    return "".join(map(chr, tokens))


def fit(lines: Sequence[Line], room: int) -> str:
    return text_of(fitted(lines, room, encode, len))


def talk(turns: int, size: int = 20) -> list[Line]:
    lines = [SYSTEM]
    for n in range(turns):
        lines.append(Line("user", f"question {n} ".ljust(size, "q")))
        lines.append(Line("assistant", f"answer {n} ".ljust(size, "a")))
    return [*lines, Line("user", "last words")]


def test_what_fits_is_whole() -> None:
    assert fit(talk(2), 200) == text_of(encode(talk(2)))


def test_the_oldest_is_left_out_and_the_instructions_and_last_words_stay() -> None:
    prompt = fit(talk(20), 200)
    assert len(prompt) <= 200
    assert prompt.startswith("<s>Be brief.<u>question")
    assert prompt.endswith("<u>last words")
    assert "question 0 " not in prompt
    assert "answer 19" in prompt


def test_the_beginning_stays_for_some_turns_so_that_it_need_not_be_read_again() -> None:
    starts = [fit(talk(turns), 400)[:60] for turns in range(10, 40)]
    changes = sum(a != b for a, b in pairwise(starts))
    assert 5 < changes <= 18, "each turn began anew"


def test_a_message_longer_than_the_window_keeps_its_end_and_instructions_their_beginning() -> None:
    long = Line("user", "beginning " + "x" * 1_000 + " end")
    prompt = fit([SYSTEM, Line("user", "old"), Line("assistant", "old"), long], 120)
    assert len(prompt) <= 120
    assert prompt.endswith(" end")
    assert prompt.startswith("<s>Be brief.")
    prompt = fit([Line("system", "Never swear. " + "y" * 1_000), Line("user", "Hello.")], 120)
    assert prompt.startswith("<s>Never swear.")
    assert prompt.endswith("<u>Hello.")


def test_a_window_for_nothing_is_refused() -> None:
    with pytest.raises(EngineRefused, match="too few"):
        fit(talk(3), 10)


@given(
    st.lists(
        st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text("ab ", max_size=300)),
        max_size=12,
    ),
    st.integers(160, 600),
)
def test_any_conversation_fits(told: list[tuple[str, str]], room: int) -> None:
    lines = [*(Line(role, text) for role, text in told), Line("user", "last words")]
    prompt = fit(lines, room)
    assert len(prompt) <= room
    assert prompt.endswith("last words")
