"""Transcripts of overlapping windows -> one transcript. No word twice, none lost.

A word that the edge of a window cuts is heard wrong: as half of it, as another, or not at all. So the next window
begins early enough to hear it whole, and a word that both have heard whole, the *anchor*, tells where the one
transcript goes over into the other. An anchor is chosen so that no other word near it can be taken for it: then the
answer needs no guess, whatever repeats itself around it. Where the windows disagree about the anchor, the last word
on which they agree decides, and times decide about what follows it.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from duologue.core.words import Word

_SPACELESS = (
    (0x3005, 0x3007),
    (0x3040, 0x30FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),
    (0x20000, 0x3FFFF),
)
"""Chinese and Japanese characters: nothing but a dictionary knows where a word of them ends."""


CUT_WORDS = 64
"""About a cut between windows without times, so many words of both are compared: three seconds have fewer."""


LONG_RUN = 10
"""Of runs that are longer not the longest counts: words that go on repeating make them of any length."""


def tokens(text: str) -> list[str]:
    """What is aligned: words, or single characters of Chinese and Japanese; punctuation goes with its word."""
    found: list[str] = []
    for chunk in text.split():
        token, is_word, is_single = "", False, False
        for char in chunk:
            is_spaceless = any(low <= ord(char) <= high for low, high in _SPACELESS)
            if is_word and char.isalnum() and (is_spaceless or is_single):
                found.append(token)
                token = ""
            token += char
            if char.isalnum():
                is_word, is_single = True, is_spaceless
        found.append(token)
    return found


def normal(text: str) -> str:
    """A word as it is compared: without case and punctuation; of punctuation alone, that."""
    plain = "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())
    return plain or text


def shared_out(text: str, start_ms: int, end_ms: int, logprob: float | None = None) -> list[Word]:
    """The tokens of a text that was said in a time; each has a share of it by its characters."""
    parts = tokens(text)
    whole = sum(map(len, parts))
    words, done = [], 0
    for part in parts:
        begin, done = done, done + len(part)
        first, last = (start_ms + (end_ms - start_ms) * share // whole for share in (begin, done))
        words.append(Word(part, first, last, logprob))
    return words


def same(a: Sequence[Word], b: Sequence[Word]) -> int:
    """How many words they have in common from their beginnings."""
    count = 0
    for left, right in zip(a, b, strict=False):
        if normal(left.text) != normal(right.text):
            break
        count += 1
    return count


def is_anchor(words: Sequence[Word], at: int, seen_to_ms: int, slack_ms: int) -> bool:
    """Whether another window will know this word again, and take no other for it.

    Args:
        seen_to_ms: what was said before is in `words`; of what was said after, nothing is known.
        slack_ms: how far the times of one word may be apart in two windows.
    """
    word = words[at]
    last_ms = word.start_ms + 2 * slack_ms  # both windows may be wrong about both words
    if seen_to_ms <= last_ms:
        return False
    name = normal(word.text)
    return not any(
        abs(other.start_ms - word.start_ms) <= 2 * slack_ms and normal(other.text) == name
        for number, other in enumerate(words)
        if number != at
    )


def already_said(
    anchor: Word | None,
    since: Sequence[Word],
    heard: Sequence[Word],
    slack_ms: int,
    *,
    is_sure: bool = True,
) -> int:
    """How many words of a window, from its first, were settled by those before it.

    Args:
        anchor: the settled word that this window begins with, but for what its edge has cut; None if it begins
            between two words, and no settled one but `since` is in it.
        since: words that were settled after that.
        is_sure: it is an anchor by `is_anchor`; of others the nearest in time is taken for it.
    """
    first = 0
    if anchor is not None:
        first = 1 + (_last_like if is_sure else _nearest_like)(anchor, heard, slack_ms)
    if (first or anchor is None) and same(since, heard[first:]) == len(since):
        return first + len(since)
    return _by_time([*([anchor] if anchor else []), *since], heard, slack_ms)


def _by_time(said: Sequence[Word], heard: Sequence[Word], slack_ms: int) -> int:
    """The last word on which both agree, and after it whatever lies in the time of the words said."""
    first = 0
    for word in reversed(said):
        first = 1 + _last_like(word, heard, slack_ms)
        if first:
            break
    end_ms = said[-1].end_ms
    while first < len(heard) and heard[first].start_ms + heard[first].end_ms < 2 * end_ms:
        first += 1
    return first


def _last_like(word: Word, heard: Sequence[Word], slack_ms: int) -> int:
    """Where it is heard again; of several such places the last, for an edge leaves halves of words before it."""
    name = normal(word.text)
    for at in reversed(range(len(heard))):
        is_near = abs(heard[at].start_ms - word.start_ms) <= slack_ms
        if is_near and normal(heard[at].text) == name:
            return at
    return -1


def _nearest_like(word: Word, heard: Sequence[Word], slack_ms: int) -> int:
    """Where it is heard again; of several such places the nearest in time."""
    name = normal(word.text)
    off_ms = {
        at: abs(other.start_ms - word.start_ms) + abs(other.end_ms - word.end_ms)
        for at, other in enumerate(heard)
        if abs(other.start_ms - word.start_ms) <= slack_ms and normal(other.text) == name
    }
    return min(off_ms, key=off_ms.__getitem__, default=-1)


def longest_agreement(
    before: Sequence[Word], after: Sequence[Word], slack_ms: int
) -> tuple[int, int]:
    """Where two transcripts that overlap are the same, if times are but guessed.

    Args:
        slack_ms: how far apart the guesses may be for one word.

    Returns:
        How many words to take of the first, and how many to leave out of the second: up to the end of the longest
        run of words that is in both. Of equal runs, and of long ones, that nearest in time. (0, 0) if there is none.
    """
    names = [normal(word.text) for word in after]
    best, answer = (0, 0, 0), (0, 0)
    runs = [0] * (len(names) + 1)  # lengths of the runs that end with the previous word of `before`
    for i, word in enumerate(before, 1):
        name = normal(word.text)
        for j in range(len(names), 0, -1):
            apart_ms = abs(word.start_ms - after[j - 1].start_ms)
            is_same = apart_ms <= slack_ms and name == names[j - 1]
            runs[j] = runs[j - 1] + 1 if is_same else 0
            rank = min(runs[j], LONG_RUN), -apart_ms, i
            if runs[j] and rank > best:
                best, answer = rank, (i, j)
    return answer


@dataclass(frozen=True, slots=True)
class Hearing:
    """What a recogniser made of a window.

    Attributes:
        words: those that were not settled before; their times are known, or guessed.
        sure: so many of them no edge has touched.
        known: words of the window that were settled before.
        is_timed: the recogniser told the times.
        end_ms: of the window.
    """

    words: list[Word]
    sure: int
    known: list[Word]
    is_timed: bool
    end_ms: int


class Stitcher:
    """The words of one stretch of sound, window by window.

    Whoever cuts the windows says after each `hear` what becomes of its words: all of them are settled (`end`), so
    many while the next window begins where this one did (`stay`), or so many while it begins at a later place that
    was asked for here (`move`, `cut`).

    Args:
        jitter_ms: how far the times of a recogniser may be off.
        word_ms: no word is longer.

    Attributes:
        is_timed: the recogniser told times when it last heard a word.
    """

    def __init__(self, jitter_ms: int, word_ms: int) -> None:
        self._jitter_ms = jitter_ms
        self._slack_ms = 2 * jitter_ms
        self._word_ms = word_ms
        self._told_ms = 0  # end of the last settled word
        self.is_timed = False
        self.begin()

    def begin(self) -> None:
        """The next window begins between two words, and has none that is settled."""
        self._anchor: Word | None = None
        self._is_sure = True  # of the anchor
        self._since: list[Word] = []  # settled words of the window after the anchor
        self._blind: list[
            Word
        ] = []  # what was heard about the place of a cut, where nothing better is known
        self._open: list[Word] = []  # heard, and not settled
        self._open_sure = 0

    @property
    def told_ms(self) -> int:
        """Where the last settled word ends."""
        return self._told_ms

    def hear(
        self, words: Sequence[Word], text: str, span_ms: tuple[int, int], loud_ms: tuple[int, int]
    ) -> Hearing:
        """What was heard in a window.

        Args:
            words: where times are known; else the `text` is looked at.
            span_ms: from where to where the window reaches; `loud_ms`: where in it there is sound.
        """
        begin_ms, end_ms = span_ms
        found: list[Word] = []
        for word in words:
            start_ms = min(max(word.start_ms, begin_ms), end_ms)
            stop_ms = min(max(word.end_ms, start_ms), end_ms)
            found += shared_out(word.text, start_ms, stop_ms, word.logprob)
        is_timed = bool(found) or not text.strip()
        if not is_timed:
            found = shared_out(text, *loud_ms)
        if found:
            self.is_timed = is_timed
        known, rest = self._parted(found)
        sure = max(0, len(rest) - 1)
        if is_timed:
            edge_ms = end_ms - self._jitter_ms
            sure = next((n for n, word in enumerate(rest) if word.end_ms > edge_ms), len(rest))
        return Hearing(rest, sure, known, is_timed, end_ms)

    def _parted(self, found: list[Word]) -> tuple[list[Word], list[Word]]:
        """Settled before, and not."""
        if self._blind:
            found = self._over_the_cut(found)
            count = len(self._since)
        else:
            count = already_said(
                self._anchor, self._since, found, self._slack_ms, is_sure=self._is_sure
            )
        return found[:count], found[count:]

    def _over_the_cut(self, found: list[Word]) -> list[Word]:
        """What was heard about the place of a cut, and how the window after it goes on."""
        before = self._blind
        keep, leave = longest_agreement(before, found[:CUT_WORDS], 2 * self._word_ms)
        if not leave:  # the edge has cut the last one
            keep = max(len(before) - 1, len(self._since))
            leave = _by_time(before[:keep], found, -1) if keep else 0
        return before[:keep] + found[leave:]

    def agreed(self, hearing: Hearing) -> int:
        """How many of its words the window before has heard alike, and whole."""
        return same(self._open[: self._open_sure], hearing.words[: hearing.sure])

    # --- where the next window may begin ---
    def silence(self, hearing: Hearing) -> int | None:
        """A place, in ms, after all words that are sure, if nothing was said about it."""
        if not hearing.is_timed:
            return None
        if hearing.sure < len(hearing.words):
            after_ms = hearing.words[hearing.sure].start_ms
        else:
            after_ms = (
                hearing.end_ms - self._word_ms
            )  # a word that begins later may be cut, and not heard
        heard = hearing.known + hearing.words[: hearing.sure]
        before_ms = max((word.end_ms for word in heard), default=-self._word_ms)
        if after_ms - before_ms < 2 * self._slack_ms:
            return None
        return after_ms - self._slack_ms

    def anchor(self, hearing: Hearing, after_ms: int) -> int | None:
        """The last word that can be an anchor, if its window would begin after this."""
        words = hearing.known + hearing.words
        before = len(hearing.known)
        for at in reversed(range(hearing.sure)):
            if self.place_before(hearing.words[at]) <= after_ms:
                return None
            seen_to_ms = hearing.words[hearing.sure - 1].end_ms
            if is_anchor(words, before + at, seen_to_ms, self._slack_ms):
                return at
        return None

    def place_before(self, word: Word) -> int:
        """Where, in ms, a window begins that is to hear it whole."""
        return word.start_ms - self._slack_ms

    # --- what becomes of the words ---
    def end(self, hearing: Hearing) -> tuple[Word, ...]:
        """All are settled, and the next window begins after them."""
        self.begin()
        return self._settled(hearing.words)

    def stay(self, hearing: Hearing, count: int) -> tuple[Word, ...]:
        """So many are settled."""
        self._since += hearing.words[:count]
        self._open = hearing.words[count:]
        self._open_sure = max(0, hearing.sure - count)
        return self._settled(hearing.words[:count])

    def move(self, hearing: Hearing, count: int, anchor: int | None) -> tuple[Word, ...]:
        """So many are settled, and the next window begins before the anchor, which is one of them, or after them."""
        self.begin()
        settled = self.stay(hearing, count)
        self._since = []
        if anchor is not None:
            self._anchor = hearing.words[anchor]
            self._since = hearing.words[anchor + 1 : count]
        return settled

    def cut(self, hearing: Hearing, count: int, after_ms: int) -> tuple[tuple[Word, ...], int]:
        """The next window begins at a place that is not known to be good, after this. So many are settled at least.

        Returns:
            What is settled, and the place in ms.
        """
        place_ms = hearing.end_ms - 2 * self._word_ms
        if hearing.is_timed:
            last = hearing.sure - 1
            if last >= 0 and self.place_before(hearing.words[last]) > after_ms:
                settled = self.move(hearing, hearing.sure, last)
                self._is_sure = False
                return settled, self.place_before(hearing.words[last])
            return self.move(hearing, hearing.sure, None), place_ms
        count = max(count, sum(w.end_ms <= place_ms for w in hearing.words[: hearing.sure]))
        settled = self.move(hearing, count, None)
        self._blind = [*hearing.known, *hearing.words][-CUT_WORDS:]
        self._since = self._blind[: max(0, len(self._blind) - len(self._open))]
        return settled, place_ms

    def give_up(self) -> tuple[Word, ...]:
        """A window could not be heard. What an earlier one has heard of it, and was sure of, is settled."""
        settled = self._settled(self._open[: self._open_sure])
        self.begin()
        return settled

    def _settled(self, words: Sequence[Word]) -> tuple[Word, ...]:
        """Words that neither overlap nor go back in time."""
        done = []
        for word in words:
            start_ms = max(word.start_ms, self._told_ms)
            self._told_ms = max(word.end_ms, start_ms)
            done.append(Word(word.text, start_ms, self._told_ms, word.logprob))
        return tuple(done)
