"""One response of a streaming session: what is said in it, and how far the listener is."""

from collections.abc import Callable
from dataclasses import dataclass

from duologue.core.audio import SAMPLE_BYTES
from duologue.core.errors import DuologueError
from duologue.core.playout import PlayoutClock, SpokenText
from duologue.core.streaming import TextRequest
from duologue.core.wav import wav
from duologue.ports import Clock, Spent
from duologue.session.streaming.spoken_cache import MAX_ENTRY_BYTES

MAX_PCM_BYTES = 4 * 2**20
"""Sound that is held until a response is whole: 87 s at 24 kHz. A longer one comes in parts, whatever was asked."""


@dataclass(frozen=True, slots=True)
class PartMade:
    """A piece of a response that can be told."""

    number: int
    is_last: bool
    text: str
    audio: bytes
    duration_ms: int


class Response:
    """What is being said. See `session.speaking.Answer`, whose shape it has.

    Args:
        tell: takes the parts as they are made.
        whole: there is only one part, the last.
        keeps: its sound is wanted once more, when it is over.

    Attributes:
        error: why it broke off, if it did.
        is_over: no more of it is made.
    """

    def __init__(
        self,
        response_id: str,
        request: TextRequest,
        rate_hz: int,
        tell: Callable[["Response", PartMade], None],
        clock: Clock,
        *,
        whole: bool,
        keeps: bool = False,
    ) -> None:
        self.id = response_id
        self.request = request
        self.rate_hz = rate_hz
        self.spoken = SpokenText()
        self.error: DuologueError | None = None
        self.is_over = False
        self.text = ""
        self.told_text = ""
        self._tell = tell
        self._clock = clock
        self._whole = whole
        self._keeps = keeps
        self._playout = PlayoutClock()
        self._number = 0
        self._pcm = bytearray()
        self._kept: list[bytes] = []  # the sound of the parts
        self._part_text = ""
        self._piece = 0
        self._pieces: dict[int, str] = {}

    # --- what is generated ---
    def add_text(self, text: str) -> None:
        """Text that is not spoken."""
        self.text += text
        self._part_text += text

    def add_piece(self, text: str) -> int:
        """A piece of text that will be spoken."""
        self.text += text
        number = self.spoken.add_piece(text)
        self._pieces[number] = text
        return number

    def add_sound(
        self, number: int, text: str, pcm: bytes, words: tuple[tuple[float, int], ...]
    ) -> None:
        """Sound of a piece."""
        if self.is_over:
            return
        if number != self._piece and self._part_text and not self._whole:
            self._make_part(is_last=False)
        self._piece = number
        self._part_text += self._pieces.pop(number, "")
        self.spoken.add_sound(number, len(pcm) * 500 / self.rate_hz, words)
        self._pcm += pcm
        if len(self._pcm) > MAX_PCM_BYTES:
            self._make_part(is_last=False)

    def add_call(self, call_id: str, name: str, arguments: str) -> None:
        """Tools are not offered here."""

    def spend(self, spent: Spent) -> None:
        """Nobody is told."""

    def cut_short(self, reason: str) -> None:
        """What is there is said."""

    def fail(self, error: DuologueError) -> None:
        """Something broke; what is there is still said."""
        self.error = error

    def finish(self) -> None:
        """All that there will be is here."""
        if self.is_over:
            return
        self.spoken.finish()
        self._make_part(is_last=True)
        self.is_over = True

    def give_out(self, pcm: bytes, spoken: SpokenText) -> None:
        """All of it at once, as it was said before."""
        self.spoken, self.text = spoken, spoken.text
        self._part_text = spoken.text
        self._pcm += pcm
        self._make_part(is_last=True)
        self.is_over = True

    def stop(self) -> None:
        """No more of it is made or told."""
        self.is_over = True
        self._pcm.clear()
        self._kept.clear()

    def take_pcm(self) -> bytes:
        """All its sound, where it was to be kept; asked once."""
        kept, self._kept = self._kept, []
        return b"".join(kept)

    # --- what is heard ---
    @property
    def held_bytes(self) -> int:
        """Sound that it holds."""
        return len(self._pcm) + sum(map(len, self._kept))

    @property
    def is_audible(self) -> bool:
        """The listener still hears it, as far as we know."""
        return self._playout.unheard_ms(self._clock()) > 0

    def played(self, played_ms: int) -> None:
        """The client says how far it is."""
        self._playout.correct(played_ms, self._clock())

    def heard(self) -> tuple[int, str]:
        """How much was heard: milliseconds and words. Of text, all that was told."""
        if not self._playout.sent_ms:
            return 0, self.told_text if self.spoken.duration_ms == 0 else ""
        heard_ms = self._playout.heard_ms(self._clock())
        return int(heard_ms), self.spoken.heard_until(heard_ms)

    def _make_part(self, *, is_last: bool) -> None:
        pcm, text = bytes(self._pcm), self._part_text
        self._pcm.clear()
        self._part_text = ""
        if self._keeps:
            self._kept.append(pcm)
            if sum(map(len, self._kept)) > MAX_ENTRY_BYTES:
                self._keeps = False
                self._kept.clear()
        duration_ms = len(pcm) // SAMPLE_BYTES * 1000 // self.rate_hz
        self._playout.sent(duration_ms, self._clock())
        self.told_text += text
        audio = wav(pcm, self.rate_hz) if pcm else b""
        self._tell(self, PartMade(self._number, is_last, text, audio, duration_ms))
        self._number += 1
