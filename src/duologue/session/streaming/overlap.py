"""Where a session that is brought back begins to listen, and which words it has told before.

The times of words are not exact: whoever begins where the last word ended hears a rest of it, or not all of the next.
So where there is no pause between two parts, listening begins before the last word that was told, and what is heard
up to that word is not told again.
"""

from collections.abc import Sequence

from duologue.core.audio import ms_to_samples
from duologue.core.records import ItemRecord
from duologue.core.stitch import already_said
from duologue.core.words import Word

SLACK_MS = 300
"""How far apart the times of one word may be when it is heard twice: each is off by 150 ms at most
(`core.longform.LongFormPolicy`)."""


def place_between(last: Word | None, next_ms: int) -> int:
    """From where sound is needed, in samples, when `last` is stored, and the word that begins at `next_ms` is not."""
    is_close = last is not None and next_ms - last.end_ms < 2 * SLACK_MS
    start_ms = last.start_ms if last is not None and is_close else next_ms
    return ms_to_samples(max(0, start_ms - SLACK_MS))


def last_word(items: Sequence[ItemRecord], position: int) -> Word | None:
    """The last word that was told, if it lies after this place, and so will be heard again."""
    told = next((item for item in reversed(items) if item.kind == "transcript"), None)
    words = told.body["words"] if told is not None else ()
    word = Word(*words[-1]) if words else None
    return word if word is not None and ms_to_samples(word.start_ms) > position else None


class HeardAgain:
    """What is heard at first by a session that was brought back. Holds a few words, until the last is passed.

    Args:
        last: the last word that was told.
    """

    def __init__(self, last: Word) -> None:
        self._last = last
        self._held: list[Word] = []

    @property
    def is_holding(self) -> bool:
        """Words wait for the last to be passed."""
        return bool(self._held)

    def is_behind(self, position: int) -> bool:
        """Whether the last word lies before this place for sure, in samples."""
        return ms_to_samples(self._last.end_ms + SLACK_MS) <= position

    def push(
        self, words: Sequence[Word], settled_to: int, *, ended: bool
    ) -> tuple[Word, ...] | None:
        """More settled words; gives those that are new, once the last is passed for sure. None: not yet."""
        self._held += words
        passed_ms = self._last.end_ms + SLACK_MS
        is_passed = ms_to_samples(passed_ms) <= settled_to
        if not (ended or is_passed or (self._held and self._held[-1].start_ms > passed_ms)):
            return None
        known = already_said(self._last, (), self._held, SLACK_MS, is_sure=False)
        return tuple(self._after(word) for word in self._held[known:])

    def _after(self, word: Word) -> Word:
        start_ms = max(word.start_ms, self._last.end_ms)
        return Word(word.text, start_ms, max(word.end_ms, start_ms), word.logprob)
