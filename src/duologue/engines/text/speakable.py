"""What of a written answer can be spoken: no markup, no emoji, addresses by their host; and where it stood.

A language model writes for the eye. What is taken away here would be read out as "asterisk asterisk", or
make a synthesiser stumble; the words themselves are left as they are. Each character that is left knows
the place in the original that it came from, so that a word's time points into the text of the conversation.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self
from unicodedata import category

MAX_TOKEN_CHARS = 48
"""A longer run of ASCII without a space is broken up: the longest words of English dictionaries have 45 letters, and
flite 2.2 writes past its buffer at a token that ends in more than 307 marks (seen with AddressSanitizer)."""

MAX_PART_CHARS = 300
"""What is given to a synthesiser at once. More than `core.sentences.MAX_CHARS`, so that a piece of an answer
stays whole; a page of text is cut up, for its first sound to be early and its memory bounded."""

_PLAIN = re.compile(r"[\n -~]*")
_PART_END = re.compile(r"[.!?…][\"')\]”’]*\s+|[。！？]|\n+")

_NAMED = "°©®™№℃℉"
"""Symbols that are read by name; all others of their kind are pictures."""

_COINS = "$€£¥₹"

_JOINERS = "\u200c\u200d"
"""After a letter they belong to the spelling (Persian, Hindi); between pictures they make one of several."""

_RULES: tuple[tuple[re.Pattern[str], int | None, str], ...] = (
    (re.compile(r"\\(?=[^\w\s])"), None, ""),  # an escape
    (re.compile(r"^[ \t]*(?:```|~~~)[^`\n]*$", re.M), None, ""),  # a code block's fence
    (re.compile(r"^[|:=*_ \t-]{3,}$", re.M), None, ""),  # a ruler, a table's second line
    (re.compile(r"^[ \t]*(?:(?:#{1,6}|[-*+•])[ \t]+|>[ \t]?)+(?:\[[ xX]\] )?", re.M), None, ""),
    (re.compile(r"!?\[([^\[\]\n]*)\]\([^()\s]*(?:[ \t]+[^()\n]*)?\)"), 1, ""),  # a link's label
    (
        re.compile(
            r"(?:https?://(?:www\.)?|www\.)([\w-]+(?:\.[\w-]+)*)(?::\d+)?"
            r"(?:[/?#](?:\S*[^\s.,;:!?)\]}>\"'*_])?)?"
        ),
        1,
        "",
    ),
    (re.compile(r"</?[A-Za-z][A-Za-z0-9]*(?:\s[^<>\n]*)?/?>"), None, " "),
    (re.compile(r"(?<=\S)[ \t]*\|[ \t]*(?=\S)"), None, ", "),  # between a table's cells
    (re.compile(r"\|"), None, " "),
    (re.compile(r"(?<![\d*])\*+|\*+(?![\d*])|~~+|`+"), None, ""),  # but 2*3 is arithmetic
    (re.compile(r"_+"), None, " "),
    (re.compile(rf"[!-~]{{{MAX_TOKEN_CHARS}}}(?=[!-~])"), 0, " "),
)
"""What to look for, the group of it that stays, and what is put behind that. All take linear time."""


@dataclass(frozen=True, slots=True)
class Speakable:
    """Text to be spoken; false if there is nothing to say in it.

    Attributes:
        text: what to say.
        origins: for each character of it, the character of the original that it stands for; never falls.
    """

    text: str
    origins: tuple[int, ...]

    def __bool__(self) -> bool:
        return any(char.isalnum() for char in self.text)

    def each(self, spoken: Callable[[str, str], str]) -> Self:
        """Other text for each character; `spoken` is given it and the one before it."""
        new = [
            spoken(char, before) for char, before in zip(self.text, " " + self.text, strict=False)
        ]
        origins = (at for at, text in zip(self.origins, new, strict=True) for _ in text)
        return type(self)("".join(new), tuple(origins))

    def sub(self, pattern: re.Pattern[str], group: int | None, tail: str) -> Self:
        """Of each match only a group and `tail` behind it; without a group, `tail` alone."""
        texts: list[str] = []
        origins: list[int] = []
        done = 0
        for match in pattern.finditer(self.text):
            start, end = (match.start(), match.start()) if group is None else match.span(group)
            texts += (self.text[done : match.start()], self.text[start:end], tail)
            origins += self.origins[done : match.start()]
            origins += self.origins[start:end]
            origins += [self.origins[max(start, end - 1)]] * len(tail)
            done = match.end()
        if not texts:
            return self
        return type(self)("".join(texts) + self.text[done:], (*origins, *self.origins[done:]))

    def swap(self, pattern: re.Pattern[str], say: Callable[[re.Match[str]], str]) -> Self:
        """Other words for each match, set apart from what they would run into; its spaces at the front stay.

        All of them stand for the match's first character that is no space.
        """
        texts: list[str] = []
        origins: list[int] = []
        done = 0
        for match in pattern.finditer(self.text):
            found = match.group()
            start = match.start() + len(found) - len(found.lstrip())
            kept = self.text[done:start]
            last = kept[-1:] or (texts[-1][-1:] if texts else "")
            said = _set_apart(say(match), last, self.text[match.end() : match.end() + 1])
            texts += (kept, said)
            origins += self.origins[done:start]
            origins += [self.origins[start]] * len(said)
            done = match.end()
        if not texts:
            return self
        return type(self)("".join(texts) + self.text[done:], (*origins, *self.origins[done:]))

    def parts(self) -> list[Self]:
        """Cut into stretches of at most `MAX_PART_CHARS`, at sentences' ends or spaces, without the silent ones."""
        parts = []
        text, start = self.text, 0
        while start < len(text):
            end = start + MAX_PART_CHARS
            if end < len(text):
                ends = [match.end() for match in _PART_END.finditer(text, start, end)]
                end = ends[-1] if ends else text.rfind(" ", start, end) + 1 or end
            parts.append(type(self)(text[start:end], self.origins[start:end]))
            start = end
        return [part for part in parts if part]


def _set_apart(said: str, before: str, after: str) -> str:
    """Words with a space where a letter or figure stands beside them."""
    front = " " if before.isalnum() and said[:1].isalnum() else ""
    back = " " if (after.isalnum() or after in _COINS) and said[-1:].isalnum() and after else ""
    return f"{front}{said}{back}"


def speakable(text: str) -> Speakable:
    """What of a piece of an answer can be spoken. Knows no earlier piece: marks that begin in one and end in
    another are taken away all the same, but what stands between the fences of a code block is read out."""
    said = Speakable(text, tuple(range(len(text))))
    if not _PLAIN.fullmatch(text):
        said = said.each(_spoken)
    for pattern, group, tail in _RULES:
        said = said.sub(pattern, group, tail)
    return said


def _spoken(char: str, before: str) -> str:
    """A character, unless it is a picture or no character at all."""
    kind = category(char)
    if char == "\n" or kind in ("Zl", "Zp"):
        return "\n"
    if kind in ("Cc", "Cs", "Co", "Cn", "Zs") or (kind == "So" and char not in _NAMED):
        return " "
    if kind == "Cf":
        return char if char in _JOINERS and category(before)[0] in "LM" else ""
    is_of_a_picture = "\ufe00" <= char <= "\ufe0f" or "\U0001f3fb" <= char <= "\U0001f3ff"
    return "" if is_of_a_picture or kind == "Me" else char
