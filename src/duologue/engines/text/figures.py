"""Numbers in other languages than English, for voices that can only read letters.

`num2words` knows fifty of them. It is asked only by the voices that need it (a front end that is espeak-ng's reads
figures itself, in all its languages), and where it is not installed, or does not know the language, the figures stay.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any

POINT = frozenset("en zh ja ko th he".split())
"""Languages that write a point before the decimals; the others write a comma."""

MAX_DIGITS = 15

PATTERN = re.compile(r"(?<![\w-])-?[0-9]+(?:[.,\u00a0\u202f'][0-9]{3}(?![0-9]))*(?:[.,][0-9]+)?")
"""A number, its thousands apart or not, its decimals behind a comma or a point."""


def sayer(language: str) -> Callable[[re.Match[str]], str]:
    """What says a match of `PATTERN` in a language."""
    say = _number_words(language)

    def said(match: re.Match[str]) -> str:
        value = _value(match.group(), "." if language in POINT else ",")
        return match.group() if say is None or value is None else say(value) or match.group()

    return said


def _value(figures: str, point: str) -> Decimal | None:
    """The number; None if nobody could follow so many digits, or if it is a code."""
    whole, _, decimals = figures.partition(point)
    whole = re.sub(r"[^0-9-]", "", whole)
    size = whole.lstrip("-")
    if not size or not (decimals.isdecimal() or not decimals) or len(size) > MAX_DIGITS:
        return None
    if size.startswith("0") and len(size) > 1:
        return None
    return Decimal(f"{whole}.{decimals}" if decimals else whole)


@cache
def _number_words(language: str) -> Callable[[Decimal], str] | None:
    try:
        import num2words
    except ImportError:
        return None
    if language not in num2words.CONVERTER_CLASSES:
        return None
    say: Any = num2words.num2words

    def words(value: Decimal) -> str:
        whole = int(value)
        try:
            return str(say(whole if value == whole else value, lang=language))
        except Exception:  # noqa: BLE001 - fifty modules by fifty authors: a number that one cannot say stays as it is
            return ""

    return words
