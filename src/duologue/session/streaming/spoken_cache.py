"""What was spoken before need not be synthesised again: the sound of whole texts, by text, voice and engine."""

from collections import OrderedDict
from dataclasses import dataclass

from duologue.core.playout import SpokenText
from duologue.ports import TtsOptions

MAX_BYTES = 16 * 2**20
"""Six minutes of sound at 24 kHz."""

MAX_ENTRY_BYTES = 2 * 2**20
"""Longer texts are seldom said twice."""


@dataclass(frozen=True, slots=True)
class Saying:
    """What makes two sounds the same."""

    text: str
    voice: TtsOptions
    engine: str


@dataclass(frozen=True, slots=True)
class Said:
    """A text as it was spoken: its sound, and where its words lie on it."""

    pcm: bytes
    rate_hz: int
    spoken: SpokenText


class SpokenCache:
    """For all sessions. When it is full, what was longest not wanted leaves.

    Attributes:
        bytes: of sound held; hits, misses: how often it was asked.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self._max_bytes = max_bytes
        self._said: OrderedDict[Saying, Said] = OrderedDict()

    def __len__(self) -> int:
        return len(self._said)

    def find(self, saying: Saying) -> Said | None:
        """How it was said, if that is still known."""
        said = self._said.get(saying)
        if said is None:
            self.misses += 1
            return None
        self.hits += 1
        self._said.move_to_end(saying)
        return said

    def keep(self, saying: Saying, said: Said) -> None:
        """It was said so, to its end."""
        if len(said.pcm) > min(MAX_ENTRY_BYTES, self._max_bytes):
            return
        if (old := self._said.pop(saying, None)) is not None:
            self.bytes -= len(old.pcm)
        self._said[saying] = said
        self.bytes += len(said.pcm)
        while self.bytes > self._max_bytes:
            _, left = self._said.popitem(last=False)
            self.bytes -= len(left.pcm)
