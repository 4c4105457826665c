"""What people say to an assistant, written as a small grammar and unrolled into weighted sentences.

`assistant_phrases.txt` beside this file holds the sentences that ship, and explains its own notation.
"""

import random
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import chain, product
from math import prod

Words = tuple[str, ...]

MAX_SENTENCES = 40
"""Sentences taken of one template. More lowers the perplexity of other people's wording a little (20: 15, 40: 13,
60: 12) and makes every model that is built with a client's hints slower (16 000 trigrams at 40)."""

_TOKEN = re.compile(r"\{\w+\}|[()\[\]|]|[^\s()\[\]{}|]+")
_SLOT = re.compile(r"(\w+)\s*=\s*(.+)")


@dataclass(frozen=True, slots=True)
class Phrase:
    """One sentence. `weight` is how often it counts."""

    words: Words
    weight: float


@dataclass(frozen=True, slots=True)
class _Slot:
    name: str


@dataclass(frozen=True, slots=True)
class _Choice:
    """One of several sequences, each of which may hold choices again."""

    options: "tuple[tuple[str | _Slot | _Choice, ...], ...]"


_Node = str | _Slot | _Choice


class _Reader:
    """Reads one template."""

    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._at = 0

    def choice(self, end: str = "") -> _Choice:
        """Up to the bracket `end`, or the text's."""
        options: list[list[_Node]] = [[]]
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            self._at += 1
            if token == end:
                break
            if token == "|":
                options.append([])
            else:
                options[-1].append(self._node(token))
        return _Choice(tuple(tuple(option) for option in options))

    def _node(self, token: str) -> _Node:
        if token == "(":
            return self.choice(")")
        if token == "[":
            return _Choice((*self.choice("]").options, ()))
        return _Slot(token[1:-1]) if token.startswith("{") else token


class Grammar:
    """Templates and the slots that they use. See the head of `assistant_phrases.txt` for the notation.

    Raises:
        KeyError: a slot is not defined: here for a slot's own slots, while unrolling for a sentence's.
    """

    def __init__(self, text: str) -> None:
        self._slots: dict[str, _Choice] = {}
        self._templates: list[str] = []
        self._sizes: dict[str, int] = {}
        for line in filter(None, map(str.strip, text.splitlines())):
            if slot := _SLOT.fullmatch(line):
                self._slots[slot[1]] = _Reader(slot[2]).choice()
                self._sizes[slot[1]] = self._size(self._slots[slot[1]])
            elif not line.startswith("#"):
                self._templates.append(line)

    def phrases(self) -> list[Phrase]:
        """Every template unrolled, the same each time.

        A template that stands for n sentences weighs as much as the root of n single ones: a rich pattern
        counts for more, and does not drown "yes" and "stop".
        """
        return [
            Phrase(words, len(said) ** -0.5)
            for template in self._templates
            for said in (self._unroll(template),)
            for words in said
        ]

    def _unroll(self, template: str) -> list[Words]:
        """All sentences of a small template; of a large one some, the same on every machine."""
        tree = _Reader(template).choice()
        said: dict[Words, None] = {}
        if self._size(tree) <= MAX_SENTENCES:
            said = dict.fromkeys(self._all(tree))
        else:
            dice = random.Random(template)
            for _ in range(3 * MAX_SENTENCES):
                said[tuple(self._draw(tree, dice))] = None
                if len(said) == MAX_SENTENCES:
                    break
        return [words for words in said if words]

    def _size(self, node: _Node) -> int:
        """Sentences that it stands for."""
        if isinstance(node, str):
            return 1
        if isinstance(node, _Slot):
            return self._sizes[node.name]
        return sum(prod(self._size(part) for part in option) for option in node.options)

    def _all(self, node: _Node) -> list[Words]:
        if isinstance(node, str):
            return [(node,)]
        if isinstance(node, _Slot):
            node = self._slots[node.name]
        found: list[Words] = []
        for option in node.options:
            parts = product(*(self._all(part) for part in option))
            found += [tuple(chain.from_iterable(words)) for words in parts]
        return found

    def _draw(self, node: _Node, dice: random.Random) -> list[str]:
        if isinstance(node, str):
            return [node]
        if isinstance(node, _Slot):
            node = self._slots[node.name]
        return [word for part in dice.choice(node.options) for word in self._draw(part, dice)]


@cache
def assistant_phrases() -> tuple[Phrase, ...]:
    """The sentences that ship."""
    text = (files("duologue.engines.pocketsphinx") / "assistant_phrases.txt").read_text(
        encoding="utf-8"
    )
    return tuple(Grammar(text).phrases())
