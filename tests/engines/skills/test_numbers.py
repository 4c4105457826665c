from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.engines.skills.heard import regular
from duologue.engines.skills.numbers import read_number, read_ordinal, read_part
from duologue.engines.skills.spoken import (
    SAYABLE,
    say_exact,
    say_number,
    say_ordinal,
    say_whole,
    say_year,
)


def number(text: str, *, loose: bool = False) -> tuple[str, str] | None:
    """The number at the beginning of a text, and the words after it."""
    words = regular(text)
    found = read_number(words, 0, loose=loose)
    return None if found is None else (str(found[0]), " ".join(words[found[1] :]))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("zero", "0"),
        ("twelve", "12"),
        ("seventy two", "72"),
        ("seventy-two", "72"),
        ("a hundred", "100"),
        ("one hundred and five", "105"),
        ("one hundred five", "105"),
        ("twelve hundred", "1200"),
        ("a thousand", "1000"),
        ("seven thousand a hundred", "7100"),
        ("two thousand and nine", "2009"),
        ("one thousand two hundred and six", "1206"),
        ("one million and two thousand", "1002000"),
        ("three hundred forty five thousand six hundred seventy eight", "345678"),
        ("five billion", "5000000000"),
        ("two fifty", "250"),
        ("nineteen eighty four", "1984"),
        ("two oh five", "205"),
        ("twenty twenty six", "2026"),
        ("a dozen", "12"),
        ("two dozen", "24"),
        ("seven point five", "15/2"),
        ("seven point two five", "29/4"),
        ("seven point twenty five", "29/4"),
        ("point five", "1/2"),
        ("zero point oh five", "1/20"),
        ("one point five million", "1500000"),
        ("half a million", "500000"),
        ("half", "1/2"),
        ("a quarter", "1/4"),
        ("two thirds", "2/3"),
        ("three and a half", "7/2"),
        ("two and three quarters", "11/4"),
        ("minus ten", "-10"),
        ("negative one point five", "-3/2"),
        ("7", "7"),
        ("7.5", "15/2"),
        (".5", "1/2"),
        ("1,000", "1000"),
        ("1,234,567.5", "2469135/2"),
        ("2.5 million", "2500000"),
        ("3 hundred", "300"),
        ("3 point 5", "7/2"),
        ("25th", "25"),
    ],
)
def test_numbers_are_read(text: str, value: str) -> None:
    assert number(text) == (value, "")


@pytest.mark.parametrize(
    ("text", "value", "rest"),
    [
        ("one two three", "1", "two three"),
        ("five and seven", "5", "and seven"),
        ("five thousand and two hundred", "5000", "and two hundred"),
        ("seven point", "7", "point"),
        ("four point five for the eggs", "9/2", "for the eggs"),
        ("twenty for the eggs", "20", "for the eggs"),
        ("two seconds", "2", "seconds"),
        ("three quarter", "3", "quarter"),
        ("zero hundred", "0", "hundred"),
        ("a million and a half", "1000000", "and a half"),
    ],
)
def test_a_number_ends_where_no_more_of_it_comes(text: str, value: str, rest: str) -> None:
    found = number(text)
    assert found in ((value, rest), ("2000001/2", ""))  # "a million and a half" is one number


@pytest.mark.parametrize(
    "text", ["", "for", "to two", "hello", "a", "and five", "point", "minus", "9" * 16]
)
def test_what_is_no_number(text: str) -> None:
    assert number(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("for", "4"),
        ("to", "2"),
        ("won", "1"),
        ("ate", "8"),
        ("twenty for", "24"),
        ("point for", "2/5"),
    ],
)
def test_a_word_that_sounds_alike_is_a_number_where_one_must_be(text: str, value: str) -> None:
    assert number(text) != (value, "")
    assert number(text, loose=True) == (value, "")


def test_parts_after_a_number() -> None:
    words = regular("an hour and a half")
    assert read_part(words, 2) == (Fraction(1, 2), 5)
    assert read_part(words, 0) is None
    assert read_part(regular("and five"), 0) is None


def test_ordinals_there_and_back() -> None:
    for value in range(1, 100):
        words = regular(say_ordinal(value))
        assert read_ordinal(words, 0) == (value, len(words))
    assert read_ordinal(regular("five"), 0) is None
    assert read_ordinal((), 0) is None


@pytest.mark.parametrize(
    ("year", "said"),
    [
        (1066, "one thousand and sixty-six"),
        (1900, "nineteen hundred"),
        (1904, "nineteen oh four"),
        (1984, "nineteen eighty-four"),
        (2000, "two thousand"),
        (2009, "two thousand and nine"),
        (2026, "twenty twenty-six"),
        (2100, "two thousand one hundred"),
    ],
)
def test_years(year: int, said: str) -> None:
    assert say_year(year) == said
    assert read_number(regular(said), 0) == (Fraction(year), len(regular(said)))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Fraction(1, 3), "about zero point three three three"),
        (Fraction(22, 7), "about three point one four"),
        (Fraction(1000, 3), "about three hundred and thirty-three point three three"),
        (Fraction(1, 3000), "about zero point zero zero zero three three three"),
        (Fraction(1, 10**7), "less than a millionth"),
        (Fraction(-1, 10**7), "a number too small for me to say"),
        (Fraction(-5, 2), "minus two point five"),
        (Fraction(10**15), "a number too large for me to say"),
        (Fraction(1609344, 10_000), "about one hundred and sixty point nine three"),
        (Fraction(99999, 1000), "ninety-nine point nine nine nine"),
        (Fraction(2), "two"),
    ],
)
def test_numbers_are_said_so_that_they_can_be_followed(value: Fraction, said: str) -> None:
    assert say_number(value) == said


def test_what_is_not_exact_is_said_to_be_about() -> None:
    assert say_number(Fraction(2), is_exact=False) == "about two"
    assert say_number(Fraction(2222, 100), is_exact=False, places=1) == "about twenty-two point two"


@given(st.integers(-SAYABLE + 1, SAYABLE - 1))
def test_whole_numbers_there_and_back(value: int) -> None:
    words = regular(say_whole(value))
    assert read_number(words, 0) == (Fraction(value), len(words))


@given(st.integers(0, 99_999))
def test_small_numbers_there_and_back(value: int) -> None:
    words = regular(say_whole(value))
    assert read_number(words, 0) == (Fraction(value), len(words))


@given(st.decimals(-99, 99, places=4))
def test_decimals_there_and_back(value: object) -> None:
    exact = Fraction(str(value))
    said = say_exact(exact)
    assert said is not None
    assert read_number(regular(said), 0) == (exact, len(regular(said)))


WORDS = st.lists(
    st.sampled_from(
        "a an and half third quarters one two nineteen twenty ninety hundred thousand million dozen point oh "
        "zero minus to for 5 2.5 999999999999999 hours".split()
    ),
    max_size=12,
)


@given(WORDS, st.booleans())
def test_no_words_break_the_reader(words: list[str], loose: bool) -> None:
    for at in range(len(words) + 1):
        found = read_number(words, at, loose=loose)
        assert found is None or at < found[1] <= len(words)
