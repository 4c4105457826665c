"""English numbers read from words.

A recogniser cannot tell "four" from "for" or "two" from "to". The reader takes such a word for a number
only where its caller says that a number must stand there (`loose`), or after a ten: "twenty for".
"""

from collections.abc import Sequence
from fractions import Fraction

Words = Sequence[str]
Read = tuple[Fraction, int]
"""A number, and the place of the first word after it."""
ReadWhole = tuple[int, int]

SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
ORDINALS = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth"
).split()

SOUND_ALIKE = {
    "to": 2, "too": 2, "for": 4, "fore": 4, "won": 1, "ate": 8, "tree": 3, "sicks": 6, "oh": 0, "o": 0,
}  # fmt: skip
"""Words that may be digits, if a digit must be there."""

MAX_DIGITS = 15
"""Of a number in figures; a longer one is no number that anybody speaks."""

_UNITS = {word: n for n, word in enumerate(SMALL[:10])}
_TEENS = {word: n for n, word in enumerate(SMALL[10:], 10)}
_TEN = {word: n * 10 for n, word in enumerate(TENS, 2)}
_MULTIPLIERS = SCALES | {"hundred": 100, "dozen": 12}
PARTS = {
    "half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fifth": 5, "fifths": 5,
    "eighth": 8, "eighths": 8, "tenth": 10, "tenths": 10,
}  # fmt: skip
"""Names of parts of a whole."""


def read_number(words: Words, at: int, *, loose: bool = False) -> Read | None:
    """The number that begins at a word: "minus seven point five", "three and a half", "2.5 million"."""
    reader = _Reader(words, loose=loose)
    if reader.word(at) in ("minus", "negative"):
        found = reader.magnitude(at + 1)
        return None if found is None else (-found[0], found[1])
    return reader.magnitude(at)


def read_part(words: Words, at: int) -> Read | None:
    """A part after a number or its unit: the "and a half" of "an hour and a half"."""
    reader = _Reader(words, loose=False)
    part = reader.fraction(at + 1) if reader.word(at) == "and" else None
    return part if part is not None and part[0] < 1 else None


def read_ordinal(words: Words, at: int) -> ReadWhole | None:
    """An ordinal from first to ninety-ninth: "twenty first"; figures count ("25th" is heard as 25)."""
    reader = _Reader(words, loose=False)
    word, unit = reader.word(at), reader.word(at + 1)
    if word in ORDINALS[1:]:
        return ORDINALS.index(word), at + 1
    if word.isdecimal() and len(word) <= 2:
        return int(word), at + 1
    if word.endswith("ieth") and word[:-4] + "y" in _TEN:
        return _TEN[word[:-4] + "y"], at + 1
    if word in _TEN and unit in ORDINALS[1:10]:
        return _TEN[word] + ORDINALS.index(unit), at + 2
    return None


def is_number_word(word: str) -> bool:
    """Whether a number can begin with it, said clearly."""
    return word[:1].isdecimal() or any(
        word in words for words in (_UNITS, _TEENS, _TEN, ("point",))
    )


class _Reader:
    """Reads from one list of words. Each method takes a place and returns what it read with the place after it."""

    def __init__(self, words: Words, *, loose: bool) -> None:
        self._words = words
        self._loose = loose

    def word(self, at: int) -> str:
        """The word at a place; empty beyond the end."""
        return self._words[at] if 0 <= at < len(self._words) else ""

    def magnitude(self, at: int) -> Read | None:
        """A number without a sign."""
        found = self.fraction(at) or self._whole_and_decimals(at)
        if found is None:
            return None
        value, at = found
        while value and (scale := _MULTIPLIERS.get(self.word(at))):
            value, at = value * scale, at + 1  # "one point five million", "half a million"
        part = read_part(self._words, at) if value.denominator == 1 else None
        return (value, at) if part is None else (value + part[0], part[1])

    def fraction(self, at: int) -> Read | None:
        """A part: "half", "a quarter", "two thirds"; with the article of "half a million"."""
        first = self.word(at)
        number, place = 1, at
        if first in ("a", "an"):
            place += 1
        elif _UNITS.get(first):
            number, place = _UNITS[first], at + 1
        elif first not in ("half", "quarter"):
            return None
        part = self.word(place)
        if part not in PARTS or part.endswith("s") != (number > 1):
            return None
        place += 1
        if self.word(place) in ("a", "of") and self.word(place + 1) in _MULTIPLIERS:
            place += 1
        return Fraction(number, PARTS[part]), place

    def _whole_and_decimals(self, at: int) -> Read | None:
        word = self.word(at)
        if word == "point":
            return self._decimals(at, 0)
        if word[:1].isdecimal():
            if len(word) > MAX_DIGITS:
                return None
            value, at = Fraction(word), at + 1
        else:
            found = self._whole(at)
            if found is None:
                return None
            value, at = Fraction(found[0]), found[1]
        if value.denominator == 1 and self.word(at) in ("point", "dot"):
            return self._decimals(at, int(value)) or (value, at)
        return value, at

    def _decimals(self, at: int, whole: int) -> Read | None:
        """The digits after a point: "two five", "25", "twenty five"; None if there is none."""
        digits, place = self._digits(at + 1)
        if not digits and (pair := self._below_hundred(at + 1)):
            digits, place = str(pair[0]), pair[1]
        if not digits:
            return None
        return whole + Fraction(int(digits), 10 ** len(digits)), place

    def _digits(self, at: int) -> tuple[str, int]:
        digits, place, end = "", at, (0, at)
        while len(digits) < MAX_DIGITS:
            word = self.word(place)
            if word in _UNITS:
                digits += str(_UNITS[word])
            elif word.isdecimal() and len(word) < MAX_DIGITS:
                digits += word
            elif word in SOUND_ALIKE and (digits or self._loose or not SOUND_ALIKE[word]):
                digits += str(SOUND_ALIKE[word])
                place += 1
                if len(digits) == 1:
                    end = len(digits), place
                continue  # no end: "four point five for the eggs"
            else:
                break
            place += 1
            end = len(digits), place
        return digits[: end[0]], end[1]

    def _whole(self, at: int) -> ReadWhole | None:
        found = self._below_thousand(at)
        if found is None:
            return None
        total, smallest = 0, 10**15
        group, place = found
        while True:
            scale = SCALES.get(self.word(place), 0)
            if not scale or scale >= smallest or not group:
                return total + group, place
            total, smallest, place = total + group * scale, scale, place + 1
            follows = place + 1 if self.word(place) == "and" else place
            rest = (
                None
                if self.word(follows) in ("a", "an") and self.word(follows + 1) in SCALES
                else self._below_thousand(follows, strict=True)
            )
            if rest is None or rest[0] >= smallest or not self._follows(follows != place, *rest):
                return total, place
            group, place = rest

    def _follows(self, has_and: bool, group: int, after: int) -> bool:  # noqa: FBT001
        """After "thousand and" comes a number below a hundred, or another scale."""
        return not has_and or group < 100 or self.word(after) in SCALES

    def _below_thousand(self, at: int, *, strict: bool = False) -> ReadWhole | None:
        if self.word(at) in ("a", "an") and self.word(at + 1) in _MULTIPLIERS:
            hundreds, place = 1, at + 1
        else:
            found = self._below_hundred(at, strict=strict)
            if found is None or not found[0]:
                return found
            hundreds, place = found
        if self.word(place) == "dozen":
            return hundreds * 12, place + 1
        if self.word(place) == "hundred":
            place += 1
            rest = self._below_hundred(
                place + 1 if self.word(place) == "and" else place, strict=True
            )
            return (
                (hundreds * 100 + rest[0], rest[1]) if rest and rest[0] else (hundreds * 100, place)
            )
        return self._run_on(place, hundreds) or (hundreds, place)

    def _run_on(self, at: int, hundreds: int) -> ReadWhole | None:
        """Hundreds unsaid: "two fifty", "two oh five", the year "nineteen eighty four"."""
        if self.word(at) in ("oh", "o", "zero") and _UNITS.get(self.word(at + 1)):
            return hundreds * 100 + _UNITS[self.word(at + 1)], at + 2
        pair = self._below_hundred(at, strict=True)
        return None if pair is None or pair[0] < 10 else (hundreds * 100 + pair[0], pair[1])

    def _below_hundred(self, at: int, *, strict: bool = False) -> ReadWhole | None:
        word, unit = self.word(at), self.word(at + 1)
        is_loose = self._loose and not strict
        if word in _TEN:
            digit = _UNITS.get(unit) or (SOUND_ALIKE.get(unit) if is_loose else None)
            return (_TEN[word] + digit, at + 2) if digit else (_TEN[word], at + 1)
        if word in _TEENS:
            return _TEENS[word], at + 1
        if word in _UNITS:
            return _UNITS[word], at + 1
        return (SOUND_ALIKE[word], at + 1) if is_loose and word in SOUND_ALIKE else None
