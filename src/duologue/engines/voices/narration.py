"""From a stream's inbox to the sound of its pieces: what the embedded voices have in common.

A voice need only turn a stretch of clean text into raw sound, chunk by chunk, with the places of its words.
Here the text of a piece is cleaned, and cut up if it is long; the sound goes through `PartSound`, which
sets it apart from the one before by a pause; and words are told by their place in the original text.
"""

from collections.abc import Callable, Iterator, Sequence

from duologue.engines.base import Emit, Flush, Inbox
from duologue.engines.text.speakable import Speakable, speakable
from duologue.engines.voices.part_sound import Chunk, PartSound
from duologue.ports import Audio, Final, Say

Take = Callable[[bytes, Sequence[tuple[int, int]]], None]
"""Takes a chunk of a part's sound, and the words known by then: (sample of the part, character of the part)."""

Speak = Callable[[str, Take], None]
"""Speaks a part of a text. Lets what `take` raises pass, and may end early once the inbox is cancelled."""

SENTENCE_PAUSE_MS = 200
CLAUSE_PAUSE_MS = 110
"""Silence from the last sound of a part to the first of the next: after a sentence as a brisk reader makes
it, after a clause half of that; where a text is cut between two words, what `PartSound` leaves at the ends."""

SLOWEST, FASTEST = 0.25, 4.0
"""Bounds of the speed: those of the OpenAI speech interface."""

_SENTENCE_ENDS = frozenset(".!?…。！？\n")
_CLAUSE_ENDS = frozenset(",;:—–，、；：")


class Narrator:
    """Serves one stream of a voice.

    Args:
        speak: the voice.
        rate_hz: of its sound.
        gain: brings it to `part_sound.LEVEL_DBFS`.
        speed: 1.0 is the voice's own; the pauses follow it.
        cut: makes of a piece what the voice is given, part by part.
    """

    def __init__(
        self,
        speak: Speak,
        rate_hz: int,
        gain: float,
        speed: float,
        cut: Callable[[str], Sequence[Speakable]] = lambda text: speakable(text).parts(),
    ) -> None:
        self._speak = speak
        self._rate_hz = rate_hz
        self._gain = gain
        self._speed = pace(speed)
        self._cut = cut
        self._gap_ms = 0.0  # silence that is still to come before the next sound

    def run(self, inbox: Inbox, emit: Emit) -> None:
        """Speak what comes, until the inbox ends."""
        pieces = 0
        for item in inbox:
            if isinstance(item, Flush):
                emit(Final(item.id, pieces))
            elif isinstance(item, Say):
                pieces += 1
                self._say(item, inbox, emit)

    def _say(self, piece: Say, inbox: Inbox, emit: Emit) -> None:
        said_ms = 0.0
        for part in self._cut(piece.text):
            if inbox.cancelled:
                return
            sound = PartSound(self._rate_hz, self._gain, self._gap_ms)
            telling = _Telling(piece, part.origins, sound, said_ms, emit)
            self._speak(part.text, telling.take)
            telling.end()
            if sound.given_ms:
                said_ms += sound.given_ms
                self._gap_ms = pause_ms_after(part.text) / self._speed - sound.tail_ms


class _Telling:
    """One part while it is spoken: its sound and words become events of its piece."""

    def __init__(
        self, piece: Say, origins: tuple[int, ...], sound: PartSound, since_ms: float, emit: Emit
    ) -> None:
        self._piece = piece
        self._origins = origins
        self._sound = sound
        self._since_ms = since_ms
        self._emit = emit
        self._last = -1  # place of the last word

    def take(self, pcm: bytes, words: Sequence[tuple[int, int]]) -> None:
        """See `Take`."""
        self._give(self._sound.add(pcm, words))

    def end(self) -> None:
        """There is no more of it."""
        self._give(self._sound.end())

    def _give(self, chunk: Chunk | None) -> None:
        if chunk is not None:
            words = tuple(self._placed(chunk.words))
            self._emit(Audio(self._piece.number, chunk.pcm, words))

    def _placed(self, words: Sequence[tuple[float, int]]) -> Iterator[tuple[float, int]]:
        """Words in the piece's time and text; of what a voice tells twice, only the first."""
        for ms, char in words:
            place = self._origins[min(max(char, 0), len(self._origins) - 1)]
            if place > self._last and _begins_a_word(self._piece.text, place):
                self._last = place
                yield self._since_ms + ms, place


def pace(speed: float) -> float:
    """A speed that is still speech."""
    return min(max(speed, SLOWEST), FASTEST)


def pause_ms_after(text: str) -> int:
    """How long to be silent after a text, by the mark it ends with."""
    for char in reversed(text):
        if char in _SENTENCE_ENDS:
            return SENTENCE_PAUSE_MS
        if char in _CLAUSE_ENDS:
            return CLAUSE_PAUSE_MS
        if char.isalnum():
            break
    return 0


def _begins_a_word(text: str, at: int) -> bool:
    """False within a word or a number, whose digits are told one by one. From U+0E00 (Thai, Lao, and then the
    scripts of East Asia) words stand without a space between them."""
    return at == 0 or not text[at - 1].isalnum() or text[at] >= "\u0e00"
