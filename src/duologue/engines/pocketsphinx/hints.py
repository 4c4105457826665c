"""What a client says is likely to be heard -> phrases of plain words, as a recogniser's dictionary spells them.

Hints are written for readers and machines: "Set_thermostat", "turnOnLights", "Gate 21, please!". Spoken, they
are words: numbers are said, punctuation ends a phrase, letters lose their accents.
"""

import re
import unicodedata
from collections.abc import Iterable

from duologue.engines.skills.numbers import SMALL
from duologue.engines.skills.spoken import say_whole

Phrases = tuple[tuple[str, ...], ...]

MAX_WORDS = 600
"""Words taken of all hints together: a long menu. What comes after it is not listened for."""

MAX_LETTERS = 20_000
"""Letters read of all hints together, several times what so many words need: a megabyte is not worth the time."""

_ENDS = re.compile(r"(?<![.:])[.:]+(?=\s|$)|[,;!?()\[\]{}<>\"|/\n\t•–—]+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*|\d+")
_BARE = str.maketrans(
    {"’": "'", "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th"}
    | {"Æ": "Ae", "Œ": "Oe", "Ø": "O", "Ł": "L", "Đ": "D", "Ð": "D", "Þ": "Th"}
)
"""What is a letter of its own in Unicode, and not one with an accent."""

_LONGEST_NUMBER = 6
"""Digits of the longest number that is read as one; a longer one is read digit by digit."""


def phrases(hints: tuple[str, ...]) -> Phrases:
    """Each different phrase once, in order, up to `MAX_WORDS` words."""
    found: dict[tuple[str, ...], None] = {}
    left, letters = MAX_WORDS, MAX_LETTERS
    for hint in hints:
        for part in _ENDS.split(_HUMP.sub(" ", _plain(hint[:letters]))):
            words = tuple(_words(part))[:left]
            if words and words not in found:
                found[words] = None
                left -= len(words)
        letters -= min(letters, len(hint))
        if not left or not letters:
            break
    return tuple(found)


def _plain(text: str) -> str:
    """Without accents, and with one kind of apostrophe."""
    text = unicodedata.normalize("NFKD", text).translate(_BARE)
    return "".join(letter for letter in text if not unicodedata.combining(letter))


def _words(part: str) -> Iterable[str]:
    for word in _WORD.findall(part.lower()):
        if word.isdigit():
            yield from spoken(word)
        else:
            yield word


def spoken(digits: str) -> list[str]:
    """A number as English words, without "and": "214" is "two hundred fourteen"."""
    if len(digits) > _LONGEST_NUMBER or (len(digits) > 1 and digits.startswith("0")):
        return [SMALL[int(digit)] for digit in digits]
    return [word for word in re.split("[ -]", say_whole(int(digits))) if word != "and"]
