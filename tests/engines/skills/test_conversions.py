from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.engines.skills.conversions import parse
from duologue.engines.skills.heard import regular
from duologue.engines.skills.units import UNITS, convert

KINDS = sorted({unit.kind for unit in UNITS.values()})


def answer(text: str) -> str:
    question = parse(regular(text))
    return question.answer() if question else ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("how many kilometres is five miles", "Five miles is about eight point zero five kilometres."),
        ("how many km are in five miles", "Five miles is about eight point zero five kilometres."),
        ("five miles in kilometers", "Five miles is about eight point zero five kilometres."),
        ("convert five miles to kilo meters", "Five miles is about eight point zero five kilometres."),
        ("convert five miles two kilometers", "Five miles is about eight point zero five kilometres."),
        ("five miles is how many kilometers", "Five miles is about eight point zero five kilometres."),
        ("how many feet are in a mile", "One mile is five thousand two hundred and eighty feet."),
        ("how many feet in the mile", "One mile is five thousand two hundred and eighty feet."),
        ("half a mile in metres", "Zero point five miles is about eight hundred and four point six seven metres."),
        ("twenty for inches in centimeters", "Twenty-four inches is sixty point nine six centimetres."),
        ("six feet two inches in centimetres",
         "Six feet two inches is one hundred and eighty-seven point nine six centimetres."),
        ("six foot two in centimetres",
         "Six feet two inches is one hundred and eighty-seven point nine six centimetres."),
        ("72°F in °C", "Seventy-two degrees Fahrenheit is about twenty-two point two degrees Celsius."),
        ("72 f to c", "Seventy-two degrees Fahrenheit is about twenty-two point two degrees Celsius."),
        ("seventy two fahrenheit in celsius",
         "Seventy-two degrees Fahrenheit is about twenty-two point two degrees Celsius."),
        ("seventy two degrees in celsius",
         "Seventy-two degrees Fahrenheit is about twenty-two point two degrees Celsius."),
        ("minus forty celsius in fahrenheit",
         "Minus forty degrees Celsius is minus forty degrees Fahrenheit."),
        ("zero kelvin in celsius",
         "Zero kelvins is minus two hundred and seventy-three point one five degrees Celsius."),
        ("minus three hundred celsius in kelvin", "Nothing is colder than absolute zero."),
        ("how many minutes in an hour", "One hour is sixty minutes."),
        ("how many seconds is an hour and a half", "One point five hours is five thousand four hundred seconds."),
        ("how many days are in three weeks", "Three weeks is twenty-one days."),
        ("how many days in a year", "One year is three hundred and sixty-five days."),
        ("how many grams in a quarter of a pound",
         "Zero point two five pounds is about one hundred and thirteen point four grams."),
        ("how many ounces in a pound", "One pound is sixteen ounces."),
        ("how many ounces in a cup", "One US cup is eight fluid ounces."),
        ("how many cups in eight ounces", "Eight fluid ounces is one US cup."),
        ("how many pints in a gallon", "One US gallon is eight US pints."),
        ("how many megabytes in a gigabyte", "One gigabyte is one thousand megabytes."),
        ("60 mph in km/h", "Sixty miles per hour is about ninety-six point five six kilometres per hour."),
        ("5km in miles", "Five kilometres is about three point one one miles."),
        ("how many kilograms in a mile", "Miles measure length, kilograms mass."),
    ],
)  # fmt: skip
def test_ways_to_ask(text: str, said: str) -> None:
    assert answer(text) == said


@pytest.mark.parametrize(
    "text",
    [
        "five miles",
        "how many kilometres",
        "how many miles",
        "i ran five miles in the rain",
        "set a timer for five minutes",
        "how many days until friday",
        "in a minute",
        "",
    ],
)
def test_what_is_no_conversion(text: str) -> None:
    assert parse(regular(text)) is None


def test_a_preposition_may_be_a_number_and_is_not_certain() -> None:
    question = parse(regular("how many kilometers is for miles"))
    assert question is not None
    assert [amount.is_certain for amount in question.amounts] == [False]
    assert question.words == "four miles in kilometres"


UNIT_PAIRS = [
    (one, other)
    for one, other in product(sorted({u.many for u in UNITS.values()}), repeat=2)
    if UNITS[one.lower()].kind == UNITS[other.lower()].kind and one != other
]


@given(st.sampled_from(UNIT_PAIRS), st.integers(1, 999))
def test_every_pair_is_understood_and_comes_back(pair: tuple[str, str], value: int) -> None:
    one, other = (UNITS[name.lower()] for name in pair)
    question = parse(regular(f"how many {pair[1]} is {value} {pair[0]}"))
    assert question is not None
    amount = question.amounts[0]
    assert (amount.value, amount.unit, question.target) == (Fraction(value), one, other)
    assert convert(convert(Fraction(value), one, other), other, one) == value
    again = parse(regular(question.words))
    assert again is not None
    assert again.answer() == question.answer()


def test_the_known_constants() -> None:
    def one(name: str, of: str) -> Fraction:
        return convert(Fraction(1), UNITS[name], UNITS[of])

    assert one("mile", "metres") == Fraction("1609.344")
    assert one("pound", "grams") == Fraction("453.59237")
    assert one("gallon", "litres") == Fraction("3.785411784")
    assert one("nautical mile", "metres") == 1852
    assert one("mebibyte", "bytes") == 1024**2
    assert convert(Fraction(212), UNITS["fahrenheit"], UNITS["celsius"]) == 100
    assert convert(Fraction(0), UNITS["celsius"], UNITS["kelvin"]) == Fraction("273.15")


SPOKEN = "how many in to is a of two five half and for degrees".split()
WORDS = st.lists(
    st.sampled_from([*(name for name in UNITS if " " not in name), *SPOKEN]), max_size=15
)


@given(WORDS)
def test_no_words_break_it(words: list[str]) -> None:
    question = parse(words)
    if question is not None:
        assert question.answer().endswith(".")
