"""A transcript in parts: words that are settled, gathered until they make a part that can be told for good."""

from collections.abc import Sequence
from dataclasses import dataclass

from duologue.core.words import Word

PAUSE_MS = 700
"""A pause between words that ends a part."""

SENTENCE_MS = 3_000
"""A part of at least this length ends with its sentence ..."""

LONGEST_MS = 12_000
"""... and any ends here: what is told can be forgotten, and need not be said again after a crash."""

_SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！")

_NO_SPACES = (
    (0x2E80, 0x312F),
    (0x31F0, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF00, 0xFFEF),
)
"""Chinese and Japanese characters and their punctuation: no space stands beside them (Korean has spaces)."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a transcript.

    Attributes:
        ends_utterance: with it the utterance is over.
    """

    words: tuple[Word, ...]
    ends_utterance: bool

    @property
    def text(self) -> str:
        """What was said in it."""
        return joined([word.text for word in self.words])


class Segments:
    """Gathers the words of one session. Holds `LONGEST_MS` of talk at most."""

    def __init__(self) -> None:
        self._words: list[Word] = []

    @property
    def text(self) -> str:
        """What is held: settled, and not yet told for good."""
        return joined([word.text for word in self._words])

    @property
    def start_ms(self) -> int | None:
        """Where that begins."""
        return self._words[0].start_ms if self._words else None

    def push(self, words: Sequence[Word], *, ended: bool = False) -> list[Segment]:
        """More settled words, in order; gives the parts that end with them. `ended`: the utterance is over."""
        done = []
        for word in words:
            if self._words and self._ends_before(word):
                done.append(self._take(ends_utterance=False))
            self._words.append(word)
        if ended and self._words:
            done.append(self._take(ends_utterance=True))
        return done

    def take_all(self) -> list[Segment]:
        """What is held, as it is: nothing follows it soon."""
        return [self._take(ends_utterance=False)] if self._words else []

    def _ends_before(self, word: Word) -> bool:
        first, last = self._words[0], self._words[-1]
        is_sentence = last.text.endswith(_SENTENCE_ENDS)
        return (
            word.start_ms - last.end_ms >= PAUSE_MS
            or word.end_ms - first.start_ms > LONGEST_MS
            or (is_sentence and last.end_ms - first.start_ms >= SENTENCE_MS)
        )

    def _take(self, *, ends_utterance: bool) -> Segment:
        words, self._words = tuple(self._words), []
        return Segment(words, ends_utterance)


def joined(words: Sequence[str]) -> str:
    """Words as they are written beside one another."""
    out: list[str] = []
    for word in words:
        if out and word and not (_is_dense(out[-1][-1:]) or _is_dense(word[0])):
            out.append(" ")
        if word:
            out.append(word)
    return "".join(out)


def _is_dense(character: str) -> bool:
    return bool(character) and any(low <= ord(character) <= high for low, high in _NO_SPACES)
