"""What the listener has heard: samples sent -> milliseconds heard -> words heard.

Two small machines. `PlayoutClock` models the listener, who plays what has arrived at one second a
second and stands still when nothing is left; it is an estimate until the client says better.
`SpokenText` is the text of one answer laid along its own sound, so that a cut in the sound is a cut
between two words.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

CHARS_PER_MS = 0.014
"""English read aloud at about 170 words a minute; used only inside a piece whose sound is not all here."""


class PlayoutClock:
    """How far the listener is, on the sound of one answer. Times are wall milliseconds.

    There are two answers to "how far": what was heard, which the client may correct; and what a listener without
    any delay would have played, which says when more is due. A client behind a slow line plays later than we think,
    and must still be sent its sound as fast as it plays.

    Attributes:
        sent_ms: sound given to the transport so far.
        underruns: times the listener ran dry although more was to come.
    """

    __slots__ = ("_at", "_dry", "_excused", "_heard", "_paced", "_still", "sent_ms", "underruns")

    def __init__(self) -> None:
        self.sent_ms = 0.0
        self.underruns = 0
        self._heard = self._paced = 0.0
        self._at: float | None = None  # None until the first sample is out
        self._dry = self._excused = self._still = False

    def sent(self, duration_ms: float, now_ms: float) -> None:
        """So much more sound went out."""
        self.heard_ms(now_ms)
        if self._dry and not self._excused:
            self.underruns += 1
        self._dry = self._excused = False
        self._at = now_ms
        self.sent_ms += duration_ms

    def heard_ms(self, now_ms: float) -> float:
        """Sound heard by now: never more than was sent, never less than before unless the client says so."""
        if self._at is not None and now_ms > self._at:
            if not self._still:
                elapsed_ms = now_ms - self._at
                self._heard += elapsed_ms
                self._paced += elapsed_ms
                if self._paced > self.sent_ms:
                    self._paced = self.sent_ms
                if self._heard > self.sent_ms:
                    self._heard = self.sent_ms
                    self._dry = True
            self._at = now_ms
        return self._heard

    def lead_ms(self, now_ms: float) -> float:
        """How much a listener without any delay still has in hand; more is due when it is too little."""
        self.heard_ms(now_ms)
        return self.sent_ms - self._paced

    def unheard_ms(self, now_ms: float) -> float:
        """How much of what was sent is still to be heard."""
        return self.sent_ms - self.heard_ms(now_ms)

    def excuse_pause(self) -> None:
        """The output is held back on purpose: if the listener runs dry before it goes on, that is no underrun."""
        self._excused = True

    def stand_still(self, now_ms: float) -> None:
        """The listener has stopped playing; what it has in hand stays in hand."""
        self.heard_ms(now_ms)
        self._still = True

    def go_on(self, now_ms: float) -> None:
        """The listener plays again."""
        self.heard_ms(now_ms)
        self._still = False

    def correct(self, heard_ms: float, now_ms: float) -> None:
        """The client says how far it is; clamped to what was sent."""
        self.heard_ms(now_ms)
        self._heard = min(max(0.0, heard_ms), self.sent_ms)
        self._paced = max(self._paced, self._heard)
        self._dry = False

    def take_back(self, lost_ms: float, now_ms: float) -> None:
        """The last of what was sent did not arrive, and is sent again: it is all still to be heard."""
        self.heard_ms(now_ms)
        arrived = max(0.0, self.sent_ms - lost_ms)
        self._heard, self._paced = min(self._heard, arrived), min(self._paced, arrived)
        self._dry = False


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word of an answer and its place on the answer's sound; where the engine told no times, an estimate."""

    text: str
    start_ms: int
    end_ms: int


@dataclass(slots=True)
class Piece:
    """A stretch of text that was synthesised at once.

    Attributes:
        text: exactly as it came from the language model, spaces included.
        start_ms, end_ms: its place on the answer's sound; `end_ms` grows while its sound arrives.
        done: all its sound is here.
        words: where the engine knows it: (start in ms from the piece's start, start in characters).
    """

    text: str
    start_ms: float
    end_ms: float
    done: bool = False
    words: list[tuple[float, int]] = field(default_factory=list)

    def chars_until(self, ms: float) -> int:
        """How many of its characters were spoken by `ms`, cut between words."""
        if self.done and ms >= self.end_ms:
            return len(self.text)
        if ms <= self.start_ms:
            return 0
        reached = self._reached(ms - self.start_ms)
        return _last_word_end(self.text, reached)

    def spoken_words(self, since: int, upto: int) -> Iterator[SpokenWord]:
        """The words that lie wholly between two of its characters."""
        for start, end in _word_bounds(self.text):
            if start >= since and end <= upto:
                yield SpokenWord(self.text[start:end], self._when(start), self._when(end))

    def _when(self, char: int) -> int:
        """Where a character is spoken, in ms of the answer's sound."""
        points = [(float(chars), ms) for ms, chars in self.words]
        if self.done or not points:
            duration = self.end_ms - self.start_ms if self.done else self._estimate_ms()
            points.append((float(len(self.text)), duration))
        return round(self.start_ms + _interpolate(points, char))

    def _estimate_ms(self) -> float:
        return max(self.end_ms - self.start_ms, len(self.text) / CHARS_PER_MS)

    def _reached(self, into_ms: float) -> float:
        """The character being spoken so far into the piece."""
        if self.words:
            points = [(ms, float(chars)) for ms, chars in self.words]
            if self.done:
                points.append((self.end_ms - self.start_ms, float(len(self.text))))
            return _interpolate(points, into_ms)
        duration = self.end_ms - self.start_ms if self.done else self._estimate_ms()
        return len(self.text) * min(1.0, into_ms / duration)


class SpokenText:
    """The text of one answer along its sound."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: list[Piece] = []

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(piece.text for piece in self._pieces)

    @property
    def duration_ms(self) -> float:
        """The sound that is here."""
        return self._pieces[-1].end_ms if self._pieces else 0.0

    def add_piece(self, text: str) -> int:
        """The next piece of text; returns its number. Its sound is still to come."""
        at = self.duration_ms
        self._pieces.append(Piece(text, at, at))
        return len(self._pieces) - 1

    def add_sound(
        self, number: int, duration_ms: float, words: tuple[tuple[float, int], ...] = ()
    ) -> None:
        """More sound of a piece; sound comes in the order of the pieces."""
        for earlier in self._pieces[:number]:
            earlier.done = True
        piece = self._pieces[number]
        piece.end_ms += duration_ms
        piece.words += words
        for later in self._pieces[number + 1 :]:
            later.start_ms = later.end_ms = piece.end_ms

    def finish(self) -> None:
        """All sound is here."""
        for piece in self._pieces:
            piece.done = True

    def heard_until(self, ms: float) -> str:
        """The words heard by `ms`, as a prefix of `text` that ends with a word."""
        return self.text[: self.chars_until(ms)].rstrip()

    def chars_until(self, ms: float) -> int:
        """Length of that prefix, spaces included."""
        total = 0
        for piece in self._pieces:
            spoken = piece.chars_until(ms)
            total += spoken
            if spoken < len(piece.text):
                break
        return total

    def words_between(self, since: int, upto: int) -> tuple[SpokenWord, ...]:
        """The words that lie between two characters of `text`, as `chars_until` counts them."""
        words: list[SpokenWord] = []
        at = 0
        for piece in self._pieces:
            if at >= upto:
                break
            words += piece.spoken_words(since - at, upto - at)
            at += len(piece.text)
        return tuple(words)


def _interpolate(points: list[tuple[float, float]], at: float) -> float:
    """The value at a place, on a line from (0, 0) through the points (neither ever falls)."""
    before, value_before = 0.0, 0.0
    for place, value in points:
        if at < place:
            return value_before + (value - value_before) * (at - before) / (place - before)
        before, value_before = place, value
    return value_before


def _word_bounds(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each word."""
    at = 0
    for word in text.split():
        start = text.index(word, at)
        at = start + len(word)
        yield start, at


def _last_word_end(text: str, reached: float) -> int:
    """End of the last word of which at least half lies before `reached`."""
    last = 0
    for start, end in _word_bounds(text):
        if (start + end) / 2 > reached:
            break
        last = end
    return last
