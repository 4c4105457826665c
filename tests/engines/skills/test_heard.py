import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.engines.skills.heard import MAX_CHARS, hear, regular


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What's the time?", "what is the time"),
        ("WHAT'S THE TIME", "what is the time"),
        ("Um, what is, er, 5km please", "what is 5 km"),
        ("It’s twenty-five o'clock", "it is twenty five clock"),
        ("today's date", "today date"),
        ("1,000 + 2", "1000 plus 2"),
        ("1,00", "1 00"),
        ("3-2", "3 minus 2"),
        ("a five-minute timer", "a five minute timer"),
        ("-5°C", "minus 5 degrees c"),
        ("5² and ½", "5 squared and and a half"),
        ("12th", "12"),
        ("60 km/h", "60 km per h"),
        ("a/b", "a b"),
        ("café", "cafe"),
        ("７５", "75"),
        ("٣ + ٤", "plus"),
        ("你好", ""),
        ("", ""),
    ],
)
def test_words_are_made_regular(text: str, words: str) -> None:
    assert " ".join(regular(text)) == words


@pytest.mark.parametrize(
    ("text", "core"),
    [
        ("hey computer can you please tell me the time thank you", "the time"),
        ("okay so um could you set a timer for me please", "set a timer"),
        ("hello", "hello"),
        ("thank you", "thank you"),
        ("good morning what day is it", "what day is it"),
        ("yes", "yes"),
    ],
)
def test_courtesies_are_left_out_where_something_remains(text: str, core: str) -> None:
    assert hear(text).core == core


def test_what_is_too_long_for_a_command_has_no_words() -> None:
    assert hear("a" * MAX_CHARS).words
    assert hear("a" * (MAX_CHARS + 1)).words == ()
    assert hear("a " * (MAX_CHARS // 2)).words == ()
    assert hear("time " * 10_000).words == ()


def test_quotes_are_short_and_clean() -> None:
    assert hear(" turn\x00 on\n\nthe light. ").quote == "turn on the light"
    assert hear("word " * 50).quote == "word " * 12 + "and so on"
    assert len(hear("x" * 3000).quote) <= 120


@given(st.text(max_size=500))
def test_any_text_can_be_heard(text: str) -> None:
    heard = hear(text)
    assert all(word.isascii() for word in heard.words)
    assert "\n" not in heard.quote
    assert hear(heard.core).words == heard.words or not heard.words
