"""Cuts what is said into stretches for a voice that makes each of them at once: short first, then longer.

Such a voice is silent until a whole stretch is made. So the first is short, and while it is heard there is time
for one twice as long: a voice that needs less than half of a second for a second of speech never runs dry.
"""

import re
from collections.abc import Callable, Iterator

from duologue.engines.text.speakable import Speakable

FIRST_CHARS = 60
"""About four seconds of speech."""

LAST_CHARS = 240
"""Longer stretches gain no melody: few sentences are longer."""

LEAST_CHARS = 12
"""A comma before this is no place to cut at: two words alone sound like a sentence of their own."""

_SENTENCE = re.compile(r"[.!?…][\"')\]”’]*\s+|[。！？]+|\n+")
_CLAUSE = re.compile(r"[,;:—–]\s+|[，、；：]")


class Breaths:
    """Cuts the pieces of one answer.

    Args:
        prepare: what is to be said of a piece.
    """

    def __init__(self, prepare: Callable[[str], Speakable]) -> None:
        self._prepare = prepare
        self._most = FIRST_CHARS

    def __call__(self, text: str) -> list[Speakable]:
        """The stretches of a piece that have something to say."""
        return list(self._stretches(self._prepare(text)))

    def _stretches(self, said: Speakable) -> Iterator[Speakable]:
        start = 0
        while start < len(said.text):
            end = cut(said.text, start, self._most)
            stretch = Speakable(said.text[start:end], said.origins[start:end])
            if stretch:
                self._most = min(2 * self._most, LAST_CHARS)
                yield stretch
            start = end


def cut(text: str, start: int, most: int) -> int:
    """Where a stretch of about `most` characters ends: at a sentence's end, a comma, a space, or anywhere.

    A rest that is hardly longer is left whole, for its last words are not to stand alone.
    """
    if len(text) - start <= most * 5 // 4:
        return len(text)
    for pattern in (_SENTENCE, _CLAUSE):
        ends = [match.end() for match in pattern.finditer(text, start, start + most)]
        if ends and ends[-1] - start >= LEAST_CHARS:
            return ends[-1]
    space = text.rfind(" ", start + LEAST_CHARS, start + most)
    return space + 1 if space > 0 else start + most
