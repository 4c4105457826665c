import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.engines.chat.thoughts import ThoughtFilter


def speak(text: str, size: int = 1, *, is_opened_unsaid: bool = False) -> str:
    thoughts = ThoughtFilter(is_opened_unsaid=is_opened_unsaid)
    spoken = [thoughts.push(text[at : at + size]) for at in range(0, len(text), size)]
    return "".join(spoken) + thoughts.finish()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Hello.", "Hello."),
        ("<think>Hm.</think>Hello.", "Hello."),
        ("\n <think>\nHm.\n</think>\n\nHello. Well.", "Hello. Well."),
        ("<thinking>Hm.</thinking>Hello.", "Hello."),
        ("<think></think>Hello.", "Hello."),
        ("<think>One.</think><think>Two.</think>Hello.", "Hello."),
        ("<think>Never ends", ""),
        ("<think>Hm.</think>", ""),
        ("<thin", "<thin"),
        ("<b>Hello.", "<b>Hello."),
        ("Two is <think> than three.", "Two is <think> than three."),
        ("<think>" + "x" * 10_000 + "</think>Hello.", "Hello."),
        ("  ", ""),
        ("", ""),
    ],
)
def test_thoughts_are_kept_and_words_are_not(text: str, spoken: str, size: int) -> None:
    assert speak(text, size) == spoken


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Hm.</think>Hello.", "Hello."),
        ("<think>Hm.</think>Hello.", "Hello."),
        ("Hello. No thoughts today.", "Hello. No thoughts today."),
        ("", ""),
    ],
)
def test_thoughts_without_a_beginning_where_they_are_expected(
    text: str, spoken: str, size: int
) -> None:
    assert speak(text, size, is_opened_unsaid=True) == spoken


@pytest.mark.parametrize(
    ("text", "is_expected", "is_learned"),
    [
        ("Hm.</think>Hello.", False, True),
        ("Hm.</think>Hello.", True, True),
        ("<think>Hm.</think>Hello.", False, False),
        ("<think>Hm.</think>Hello.", True, False),
        ("Hello.", True, False),
    ],
)
def test_what_one_answer_teaches(text: str, is_expected: bool, is_learned: bool) -> None:
    thoughts = ThoughtFilter(is_opened_unsaid=is_expected)
    for character in text:
        thoughts.push(character)
    thoughts.finish()
    assert thoughts.ended_unopened == is_learned


def test_words_are_not_held_back_longer_than_they_could_be_a_tag() -> None:
    thoughts = ThoughtFilter()
    assert [thoughts.push(piece) for piece in (" ", "<", "b", "> Hi")] == ["", "", "<b", "> Hi"]


@given(st.text(alphabet="ab <>/think\n", max_size=60), st.integers(1, 9))
def test_the_pieces_do_not_matter(text: str, size: int) -> None:
    assert speak(text, size) == speak(text, 1000)


@given(st.text(alphabet="ab <>/\n", max_size=60), st.integers(1, 9))
def test_nothing_is_lost_where_there_are_no_thoughts(text: str, size: int) -> None:
    assert speak(text, size) == text.lstrip()
