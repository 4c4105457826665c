import operator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.engines.skills.heard import regular
from duologue.engines.skills.spoken import say_exact
from duologue.engines.skills.sums import NO_DIVISION, Sum, parse_sum

OPERATIONS = {
    "plus": operator.add,
    "minus": operator.sub,
    "times": operator.mul,
    "divided by": operator.truediv,
}
NUMBERS = st.one_of(
    st.integers(-999, 999).map(Fraction),
    st.integers(0, 10**6).map(Fraction),
    st.integers(0, 9999).map(lambda n: Fraction(n, 100)),
)


def parsed(text: str) -> Sum:
    words = regular(text)
    found = parse_sum(words)
    assert found is not None
    assert found[1] == len(words)
    return found[0]


def in_words(value: Fraction) -> str:
    said = say_exact(value)
    assert said is not None
    return said


@given(NUMBERS, st.sampled_from(sorted(OPERATIONS)), NUMBERS)
def test_one_operation_is_as_python_has_it(one: Fraction, name: str, other: Fraction) -> None:
    total = parsed(f"{in_words(one)} {name} {in_words(other)}")
    if name == "divided by" and not other:
        assert total.problem == NO_DIVISION
    else:
        assert (total.value, total.problem, total.steps) == (OPERATIONS[name](one, other), "", 1)


@given(st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(1, 99)), max_size=6))
def test_long_sums_keep_the_rank_of_their_operations(steps: list[tuple[str, int]]) -> None:
    signs = {"plus": "+", "minus": "-", "times": "*", "divided by": "/"}
    spoken = "seven" + "".join(f" {name} {in_words(Fraction(n))}" for name, n in steps)
    python = "Fraction(7)" + "".join(f" {signs[name]} Fraction({n})" for name, n in steps)
    assert parsed(spoken).value == eval(python)


@given(NUMBERS, NUMBERS)
def test_percent_is_a_hundredth(one: Fraction, other: Fraction) -> None:
    total = parsed(f"{in_words(abs(one))} percent of {in_words(abs(other))}")
    assert total.value == abs(one) * abs(other) / 100


@given(st.integers(0, 10**6))
def test_roots_of_squares_are_exact_and_others_near(value: int) -> None:
    square = parsed(f"the square root of {in_words(Fraction(value) ** 2)}")
    assert (square.value, square.is_exact) == (Fraction(value), True)
    near = parsed(f"the square root of {in_words(Fraction(value) ** 2 + 1)}")
    assert near.is_exact == (value == 0)
    assert abs(near.value**2 - (value**2 + 1)) < Fraction(1, 10**9)


TALK = st.lists(
    st.sampled_from(
        "plus minus times x over divided by to the power of squared cubed square root cube half twice double "
        "percent add subtract from and two three ten 99 2.5 zero for a million hundred".split()
    ),
    max_size=25,
)


@given(TALK)
def test_the_words_of_a_sum_read_again_give_the_same_sum(words: list[str]) -> None:
    found = parse_sum(words)
    if found is None or found[0].problem:
        return
    again = parse_sum(regular(found[0].words))
    assert again is not None
    assert again[0].value == found[0].value
    found[0].answer()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("twelve times seven point five", "90"),
        ("four plus for", "8"),
        ("for times to", "8"),
        ("5 x 7", "35"),
        ("5 * 7.5", "75/2"),
        ("7-3", "4"),
        ("1/3", "1/3"),
        ("2^10", "1024"),
        ("5²", "25"),
        ("√16", "4"),
        ("50% of 80", "40"),
        ("add five two seven", "12"),
        ("add five and seven", "12"),
        ("subtract three from ten", "7"),
        ("take three from ten", "7"),
        ("ten take away three", "7"),
        ("multiply six by seven", "42"),
        ("six multiplied buy seven", "42"),
        ("divide twenty by four", "5"),
        ("twenty over four", "5"),
        ("the sum of two and three", "5"),
        ("the product of two and three", "6"),
        ("the difference between ten and three", "7"),
        ("half of twenty", "10"),
        ("a quarter of twenty", "5"),
        ("two thirds of nine", "6"),
        ("three quarters of two hundred", "150"),
        ("twice six", "12"),
        ("the cube root of twenty seven", "3"),
        ("the square of minus three", "9"),
        ("minus three squared", "-9"),
        ("two cubed", "8"),
        ("two to the power of minus two", "1/4"),
        ("the square root of sixteen plus nine", "13"),
        ("two plus three times four", "14"),
        ("ten minus three minus two", "5"),
        ("five minus minus three", "8"),
    ],
)
def test_ways_to_say_a_sum(text: str, value: str) -> None:
    assert parsed(text).value == Fraction(value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("five divided by zero", NO_DIVISION),
        ("zero over zero", NO_DIVISION),
        ("five divided by zero plus one", NO_DIVISION),
        ("zero to the power of minus two", NO_DIVISION),
        ("the square root of minus four", "A number below zero has no real root."),
        ("four to the power of a half", "I can only raise to whole powers."),
    ],
)
def test_what_has_no_value_says_why(text: str, problem: str) -> None:
    assert parsed(text).answer() == problem


@pytest.mark.parametrize(
    "text",
    [
        "two to the power of a million",
        "two to the power of nine hundred trillion",
        "nine hundred trillion to the power of one thousand",
        "the square of " * 20 + "a trillion",
        "nine " + "trillion " * 50 + "times two",
    ],
)
def test_giants_cost_nothing_and_are_not_said(text: str) -> None:
    assert "too large" in parsed(text).answer()
