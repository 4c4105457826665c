"""Numbers put into words that every synthesiser can say, with no more digits than a listener can follow."""

from decimal import Decimal, localcontext
from fractions import Fraction

from duologue.engines.skills.numbers import ORDINALS, SCALES, SMALL, TENS

SAYABLE = 10**15
"""Numbers from here on are too large to be said."""

TOO_SMALL = Fraction(1, 10**6)


def say_whole(value: int) -> str:
    """A whole number below `SAYABLE`: "one hundred and five"."""
    if value < 0:
        return f"minus {say_whole(-value)}"
    if value < 100:
        return _below_hundred(value)
    parts = []
    for name, scale in reversed(SCALES.items()):
        if value >= scale:
            parts.append(f"{_below_thousand(value // scale)} {name}")
            value %= scale
    if value:
        joint = "and " if parts and value < 100 else ""
        parts.append(joint + _below_thousand(value))
    return " ".join(parts)


def say_exact(value: Fraction) -> str | None:
    """A number, digit by digit after the point; None if nobody could follow so many digits."""
    if abs(value) >= SAYABLE or 10**4 % value.denominator:
        return None
    if 100 % value.denominator and abs(value) >= 100:
        return None
    return _say_decimal(value)


def say_number(value: Fraction, *, is_exact: bool = True, places: int = 2) -> str:
    """A number, with "about" before it where it is rounded.

    Args:
        places: decimals, where it must be rounded and is not below one.
    """
    if abs(value) >= SAYABLE:
        return "a number too large for me to say"
    if value and abs(value) < TOO_SMALL:
        return "less than a millionth" if value > 0 else "a number too small for me to say"
    if is_exact and (words := say_exact(value)) is not None:
        return words
    return f"about {_say_decimal(_rounded(value, places))}"


def say_ordinal(value: int) -> str:
    """An ordinal from 1 to 99: "twenty-first"."""
    if value < 20:
        return ORDINALS[value]
    tens, unit = divmod(value, 10)
    name = TENS[tens - 2]
    return f"{name}-{ORDINALS[unit]}" if unit else f"{name[:-1]}ieth"


def say_year(year: int) -> str:
    """A year: "nineteen eighty-four", "two thousand and nine", "twenty twenty-six"."""
    century, rest = divmod(year, 100)
    if not 1100 <= year <= 2099 or 2000 <= year <= 2009:
        return say_whole(year)
    if rest == 0:
        return f"{say_whole(century)} hundred"
    return f"{say_whole(century)} {'oh ' if rest < 10 else ''}{say_whole(rest)}"


def count(value: int, noun: str) -> str:
    """So many of something: "one minute", "two minutes"."""
    return f"{say_whole(value)} {noun}{'' if value == 1 else 's'}"


def _say_decimal(value: Fraction) -> str:
    """A number whose decimals end."""
    with localcontext() as context:
        context.prec = 40
        plain = f"{Decimal(abs(value).numerator) / Decimal(value.denominator):f}"
    whole, _, digits = plain.partition(".")
    words = ("minus " if value < 0 else "") + say_whole(int(whole))
    return words + (" point " + " ".join(SMALL[int(d)] for d in digits) if digits else "")


def _rounded(value: Fraction, places: int) -> Fraction:
    """So many decimals; three digits that tell something for what is below one."""
    if abs(value) >= 1 or not value:
        return Fraction(round(value * 10**places), 10**places)
    places = 3
    while abs(value) * 10**places < 100:
        places += 1
    return Fraction(round(value * 10**places), 10**places)


def _below_hundred(value: int) -> str:
    if value < 20:
        return SMALL[value]
    tens, unit = divmod(value, 10)
    return TENS[tens - 2] + (f"-{SMALL[unit]}" if unit else "")


def _below_thousand(value: int) -> str:
    hundreds, rest = divmod(value, 100)
    if not hundreds:
        return _below_hundred(rest)
    words = f"{SMALL[hundreds]} hundred"
    return f"{words} and {_below_hundred(rest)}" if rest else words
