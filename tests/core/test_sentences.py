import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.sentences import FIRST_CLAUSE_CHARS, FIRST_MAX_CHARS, MAX_CHARS, Sentences


def speak(text: str, chunk: int = 3) -> list[str]:
    sentences = Sentences()
    pieces = []
    for at in range(0, len(text), chunk):
        pieces += sentences.push(text[at : at + chunk])
    return pieces + sentences.flush()


def test_sentences_come_one_by_one() -> None:
    assert speak("It is noon. The sun is high! Is it? Yes.") == [
        "It is noon. ",
        "The sun is high! ",
        "Is it? ",
        "Yes.",
    ]


def test_the_first_piece_is_short_and_later_ones_are_whole() -> None:
    pieces = speak("Well of course, here it is. And then, as I said, more of it.")
    assert pieces == ["Well of course, ", "here it is. ", "And then, as I said, more of it."]
    assert speak("Sure, it is noon. Yes.")[0] == "Sure, it is noon. "


@pytest.mark.parametrize(
    "text",
    [
        "Ask Mr. Smith about it.",
        "It costs 3.50 at e.g. the baker.",
        "J. S. Bach wrote it.",
        "See www.example.com now.",
    ],
)
def test_a_dot_that_ends_nothing(text: str) -> None:
    assert speak("Hm. " + text)[1:] == [text]


def test_text_without_punctuation_is_cut_at_a_space() -> None:
    for text in ("word " * 100, "longer " * 80):
        pieces = speak(text)
        assert len(pieces[0]) <= FIRST_MAX_CHARS
        assert all(len(piece) <= MAX_CHARS for piece in pieces)
        assert all(piece.endswith(" ") for piece in pieces)


def test_a_late_comma_is_a_better_place_than_a_space() -> None:
    text = "Yes. " + "a" * 100 + " b" * 40 + ", " + "c " * 80
    assert speak(text)[1].endswith(", ")


@pytest.mark.parametrize(("chars", "early"), [(FIRST_CLAUSE_CHARS, True), (11, False)])
def test_the_first_clause_has_a_least_length(chars: int, early: bool) -> None:
    clause = "a" * (chars - 1) + ", "
    assert (speak(clause + "and so on. More.")[0] == clause) is early


@pytest.mark.parametrize(("comma", "cut_there"), [(125, False), (126, True), (190, True)])
def test_the_last_comma_of_the_second_half_is_the_place(comma: int, cut_there: bool) -> None:
    """The comma ends at this character of at most 250; an earlier one is no better."""
    text = "a" * 49 + ", " + "b " * 40
    text = text[: comma - 1].ljust(comma - 1, "b") + ", " + "c " * 100
    sentences = Sentences()
    assert sentences.push("Yes. ") == ["Yes. "]
    first = sentences.push(text)[0]
    assert (len(first) == comma + 1) is cut_there
    assert first.endswith("c ") is not cut_there


def test_nothing_is_cut_at_exactly_the_limit() -> None:
    sentences = Sentences()
    assert sentences.push("x" * FIRST_MAX_CHARS) == []
    assert sentences.push("x") == ["x" * FIRST_MAX_CHARS]


def test_a_word_without_end_is_cut_where_it_must_be() -> None:
    assert [len(p) for p in speak("x" * 400)] == [FIRST_MAX_CHARS, MAX_CHARS, 70]


def test_lines_and_other_scripts_end_sentences() -> None:
    assert speak("Milk\nEggs\n") == ["Milk\n", "Eggs\n"]
    assert speak("今天天气很好。我们走吧！") == ["今天天气很好。", "我们走吧！"]


@pytest.mark.parametrize("text", ["", "   ", "...", "\n\n", "?! "])
def test_nothing_to_say_is_nothing(text: str) -> None:
    assert speak(text) == []


def test_quotes_and_ellipses_belong_to_their_sentence() -> None:
    assert speak('He said "go." Then he left…  Well.') == [
        'He said "go." ',
        "Then he left…  ",
        "Well.",
    ]


@given(st.text(alphabet="ab .,!?\n—1。", max_size=500), st.integers(1, 40))
def test_nothing_is_changed_and_only_an_unspeakable_rest_is_dropped(text: str, chunk: int) -> None:
    said = "".join(speak(text, chunk))
    assert text.startswith(said)
    assert not any(c.isalnum() for c in text[len(said) :])
