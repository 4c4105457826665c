"""What the listener has heard: samples sent -> milliseconds heard -> words heard.

Two small machines. `PlayoutClock` models the listener, who plays what has arrived at one second a
second and stands still when nothing is left; it is an estimate until the client says better.
`SpokenText` is the text of one answer laid along its own sound, so that a cut in the sound is a cut
between two words.
"""

from dataclasses import dataclass, field

CHARS_PER_MS = 0.014
"""English read aloud at about 170 words a minute; used only inside a piece whose sound is not all here."""


class PlayoutClock:
    """How far the listener is, on the sound of one answer. Times are wall milliseconds.

    Attributes:
        sent_ms: sound given to the transport so far.
        underruns: times the listener ran dry although more was to come.
    """

    __slots__ = ("_at", "_dry", "_excused", "_heard", "sent_ms", "underruns")

    def __init__(self) -> None:
        self.sent_ms = 0.0
        self.underruns = 0
        self._heard = 0.0
        self._at: float | None = None  # None until the first sample is out
        self._dry = self._excused = False

    def sent(self, duration_ms: float, now_ms: float) -> None:
        """So much more sound went out."""
        self.heard_ms(now_ms)
        if self._dry and not self._excused:
            self.underruns += 1
        self._dry = self._excused = False
        self._at = now_ms
        self.sent_ms += duration_ms

    def heard_ms(self, now_ms: float) -> float:
        """Sound heard by now: never more than was sent, never less than before."""
        if self._at is not None and now_ms > self._at:
            self._heard += now_ms - self._at
            self._at = now_ms
            if self._heard > self.sent_ms:
                self._heard = self.sent_ms
                self._dry = True
        return self._heard

    def lead_ms(self, now_ms: float) -> float:
        """How much the listener still has in hand."""
        return self.sent_ms - self.heard_ms(now_ms)

    def excuse_pause(self) -> None:
        """The output is held back on purpose: if the listener runs dry before it goes on, that is no underrun."""
        self._excused = True

    def correct(self, heard_ms: float, now_ms: float) -> None:
        """The client says how far it is; clamped to what was sent."""
        self._heard = min(max(0.0, heard_ms), self.sent_ms)
        self._at = now_ms
        self._dry = False


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

    def _reached(self, into_ms: float) -> float:
        """The character being spoken so far into the piece."""
        if self.words:
            points = [*self.words]
            if self.done:
                points.append((self.end_ms - self.start_ms, len(self.text)))
            return _interpolate(points, into_ms)
        duration = self.end_ms - self.start_ms
        if not self.done:
            duration = max(duration, len(self.text) / CHARS_PER_MS)
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


def _interpolate(points: list[tuple[float, int]], at: float) -> float:
    """Characters reached at a time, on a line through the points (times never fall)."""
    before_ms, before = 0.0, 0.0
    for ms, chars in points:
        if at < ms:
            return before + (chars - before) * (at - before_ms) / (ms - before_ms)
        before_ms, before = ms, float(chars)
    return before


def _last_word_end(text: str, reached: float) -> int:
    """End of the last word of which at least half lies before `reached`."""
    end = at = 0
    for word in text.split():
        start = text.index(word, at)
        at = start + len(word)
        if (start + at) / 2 > reached:
            break
        end = at
    return end
