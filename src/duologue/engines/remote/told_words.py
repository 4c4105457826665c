"""Which sound of an answer belongs to which of its pieces, by the words that the server tells of.

A moshi-server speaks the pieces of an answer as one text. It splits that at white space, having taken parentheses and
dashes out (kyutai-labs/moshi, rust/moshi-server/src/tts_preprocess.rs), and tells of each word as the next begins: so
where one word ends, the next of the text begins. The sound comes more than a second behind the words.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from duologue.core.audio import SAMPLE_BYTES
from duologue.ports import Audio

LOOK_AHEAD = 8
"""Words of the text that are passed over to find one that was told, should the server have split it otherwise."""

LEAST_MS = 10
"""Every piece has at least so much sound, or what it says would count as never said."""

_LEFT_OUT = "–()"
_SPACES = ":"


@dataclass(frozen=True, slots=True)
class _Expected:
    """A word that was sent, and its place: piece, and character in it."""

    text: str
    number: int
    char: int


class ToldWords:
    """Takes what is sent and what comes back; gives events.

    Args:
        rate_hz: of the sound.

    Attributes:
        is_whole: all of the text was sent.
    """

    def __init__(self, rate_hz: int) -> None:
        self.is_whole = False
        self._rate_hz = rate_hz
        self._least = rate_hz * LEAST_MS // 1000
        self._expected: deque[_Expected] = deque()
        self._placed: deque[tuple[int, _Expected]] = (
            deque()
        )  # (sample, word), in order, not given out yet
        self._is_next_placed = False
        self._waiting: deque[int] = deque()  # pieces without sound
        self._number: int | None = None
        self._begin = 0  # of the present piece, in samples
        self._given = 0

    def sent(self, number: int, text: str) -> None:
        """A piece was sent."""
        self._waiting.append(number)
        self._expected += (_Expected(word, number, char) for char, word in words_of(text))

    def told(self, text: str, start_s: float, stop_s: float) -> None:
        """A word was begun, and the next begins where it ends."""
        found = next((n for n, e in enumerate(self._some()) if e.text == text), None)
        if found is None:
            return
        for _ in range(found):
            self._expected.popleft()
            self._is_next_placed = False
        if not self._is_next_placed:
            self._place(start_s)
        self._expected.popleft()
        if self._expected:
            self._place(stop_s)
        self._is_next_placed = bool(self._expected)

    @property
    def is_all_told(self) -> bool:
        """No word that was sent is still to come."""
        return not self._expected

    def sound(self, pcm: bytes) -> Iterator[Audio]:
        """More sound, set apart by pieces."""
        if self._number is None:
            if not self._waiting:
                return
            self._number = self._waiting.popleft()
        while pcm:
            end = self._given + len(pcm) // SAMPLE_BYTES
            cut = self._next_piece_at(end)
            size = len(pcm) if cut is None else (cut - self._given) * SAMPLE_BYTES
            yield from self._give(pcm[:size])
            pcm = pcm[size:]
            if cut is not None:
                yield from self._go_on_to(self._placed[0][1].number)

    def end(self) -> Iterator[Audio]:
        """No more sound comes: what is left to be told, and pieces of which nothing was heard."""
        quiet = bytes(self._least * SAMPLE_BYTES)
        while self._number is not None and self._placed:
            yield from self._give(quiet)
            if self._placed:
                yield from self._go_on_to(self._placed[0][1].number)
        while self._waiting:
            self._number = self._waiting.popleft()
            yield Audio(self._number, quiet)

    def _some(self) -> list[_Expected]:
        return [self._expected[n] for n in range(min(LOOK_AHEAD, len(self._expected)))]

    def _place(self, at_s: float) -> None:
        sample = max(round(at_s * self._rate_hz), self._placed[-1][0] if self._placed else 0)
        self._placed.append((sample, self._expected[0]))

    def _next_piece_at(self, end: int) -> int | None:
        """Where the next piece begins, if that is before a sample."""
        for sample, word in self._placed:
            if word.number != self._number:
                at = max(sample, self._given, self._begin + self._least)
                return at if at < end else None
        return None

    def _go_on_to(self, number: int) -> Iterator[Audio]:
        """The next piece begins; those between never sounded."""
        while self._waiting and self._number != number:
            self._number = self._waiting.popleft()
            self._begin = self._given
            if self._number != number:
                yield Audio(self._number, bytes(self._least * SAMPLE_BYTES))
        self._number = number

    def _give(self, pcm: bytes) -> Iterator[Audio]:
        """Sound of the present piece, with the words that begin before its end."""
        self._given += len(pcm) // SAMPLE_BYTES
        words = []
        while self._placed and self._placed[0][1].number == self._number:
            sample, word = self._placed[0]
            if sample >= self._given and pcm:
                break
            self._placed.popleft()
            begin_ms = max(0, min(sample, self._given) - self._begin) * 1000 / self._rate_hz
            words.append((begin_ms, word.char))
        if pcm:
            assert self._number is not None
            yield Audio(self._number, pcm, tuple(words))


def words_of(text: str) -> list[tuple[int, str]]:
    """The words of a text as the server splits it, each with its place."""
    found: list[tuple[int, str]] = []
    word, begin = "", 0
    for at, char in enumerate(f"{text} "):
        if char.isspace() or char in _SPACES:
            if word:
                found.append((begin, word))
            word = ""
        elif char not in _LEFT_OUT:
            begin = at if not word else begin
            word += "'" if char == "’" else char
    return found
