"""Sound to words: what the gate lets through, given to recognisers, for as long as the session lasts.

Recognisers come in two kinds. Those that listen while somebody speaks are given the sound as it comes (`native`);
those that take only whole windows are given windows that overlap, and what they make of them is stitched
(`windowed`). Either way sound is kept until words have come of it, and given again if the engine fails.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from duologue.core.errors import DuologueError
from duologue.core.words import Word
from duologue.session.streaming.gate import Sink

TRIES = 8
"""How often the same sound is given to engines that fail, before it is passed over as a gap."""

AGAIN_S = 0.25
AGAIN_MOST_S = 8.0
"""The wait after a failure doubles up to this: 24 s in all."""


@dataclass(frozen=True, slots=True)
class Understood:
    """What became of some sound.

    Attributes:
        words: settled, following those before; never revised.
        tentative: what seems to follow.
        agreed: of what follows, what will not change; the next settled words begin with it.
        language: as the engine heard it; empty where it was told, or does not know.
        settled_to: all sound before this place is dealt with.
        ended: the utterance is over.
    """

    words: tuple[Word, ...]
    agreed: str
    tentative: str
    settled_to: int
    ended: bool
    language: str = ""
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class PassedOver:
    """No recogniser could be found for this sound, samples on the session's clock."""

    start: int
    end: int
    error: DuologueError


Report = Callable[[Understood | PassedOver], None]


class Listening(Sink, Protocol):
    """One session's recognition. Whoever owns it runs it as a task."""

    @property
    def held_bytes(self) -> int:
        """Sound of which nothing has come yet."""

    @property
    def settled(self) -> int:
        """Before this place, in samples, nothing is held."""

    @property
    def pending(self) -> int:
        """Pieces of work that wait or are being done."""

    def set_language(self, language: str) -> None:
        """From the next piece of work on."""

    async def run(self) -> None:
        """Until cancelled."""


def wait_s(tries: int) -> float:
    """Before the next try."""
    return min(AGAIN_MOST_S, AGAIN_S * 2.0 ** max(0, tries - 1))
