"""Token stream -> speakable pieces: a short first one for an early first sound, then whole sentences.

Nothing is changed or dropped: the pieces put together are the text that came in.
"""

import re

FIRST_CLAUSE_CHARS = 12
"""A first piece may end at a comma once it is this long: "Sure," alone would leave a gap behind it."""

FIRST_MAX_CHARS = 80
"""Without any punctuation the first piece ends at a space near here, about five seconds of speech."""

MAX_CHARS = 250
"""No later piece is longer; engines lose their breath, and a cut of the reply wastes the rest."""

_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'])(?:[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|etc|e\.g|i\.e|approx|No|Inc|Ltd|Co)\.$"
)
_SENTENCE_END = re.compile(r"[.!?…]+[\"')\]”’]*(?=\s)|[。！？]+[」』”]*|\n+(?=\S|\s)")
_CLAUSE_END = re.compile(r"[,;:—–](?=\s)|[，、；：]")


class Sentences:
    """Collects text as it is generated and gives it out in pieces. Holds at most one piece."""

    __slots__ = ("_held", "_spoken")

    def __init__(self) -> None:
        self._held = ""
        self._spoken = False

    def push(self, text: str) -> list[str]:
        """Take more text; returns the pieces that it completes."""
        self._held += text
        pieces = []
        while cut := self._cut():
            pieces.append(self._take(cut))
        return pieces

    def flush(self) -> list[str]:
        """The text is over: whatever is left, if there is a letter or digit in it."""
        rest = self._take(len(self._held))
        return [rest] if any(c.isalnum() for c in rest) else []

    def _take(self, size: int) -> str:
        piece, self._held = self._held[:size], self._held[size:]
        self._spoken = self._spoken or bool(piece.strip())
        return piece

    def _cut(self) -> int:
        """Where the next piece ends, 0 if that is not known yet."""
        for match in _SENTENCE_END.finditer(self._held):
            if self._is_end(match):
                return self._with_space(match.end())
        if not self._spoken:
            for match in _CLAUSE_END.finditer(self._held):
                if match.end() >= FIRST_CLAUSE_CHARS:
                    return self._with_space(match.end())
        limit = MAX_CHARS if self._spoken else FIRST_MAX_CHARS
        return self._at_a_space(limit) if len(self._held) > limit else 0

    def _is_end(self, match: re.Match[str]) -> bool:
        before = self._held[: match.end()]
        if not any(c.isalnum() for c in before):
            return False
        return not _ABBREVIATION.search(before)

    def _with_space(self, end: int) -> int:
        while end < len(self._held) and self._held[end].isspace():
            end += 1
        return end

    def _at_a_space(self, limit: int) -> int:
        comma = max((m.end() for m in _CLAUSE_END.finditer(self._held, 0, limit)), default=0)
        space = self._held.rfind(" ", 0, limit) + 1
        return self._with_space(comma) if comma > limit // 2 else space or limit
