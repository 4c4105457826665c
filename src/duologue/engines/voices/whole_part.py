"""The sound of a part that was made at once: brought to the level of all voices, and handed on in slices."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from duologue.engines.voices.narration import Take
from duologue.engines.voices.part_sound import gain_for, level_dbfs, levelled
from duologue.engines.voices.word_places import Places

SLICE_MS = 100

_FULL_SCALE = 32_767.0


def as_pcm(sound: NDArray[np.float32]) -> bytes:
    """Samples within -1..1 as 16-bit PCM; what is beyond, or no number, is bent to it."""
    whole = np.clip(np.nan_to_num(sound, nan=0.0), -1.0, 1.0)
    return (whole * _FULL_SCALE).astype("<i2").tobytes()


class Levels:
    """What brings each voice to the level of all, learned from the first that it says."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._gains: dict[str, float] = {}

    def levelled(self, voice: str, pcm: bytes) -> bytes:
        """Sound of a voice, as loud as it is to be."""
        if voice not in self._gains:
            if len(pcm) < self._rate_hz // 5:  # a tenth of a second says little
                return pcm
            self._gains[voice] = gain_for(level_dbfs(pcm, self._rate_hz))
        return levelled(pcm, self._gains[voice]).tobytes()


def hand_on(pcm: bytes, places: Places, rate_hz: int, take: Take) -> None:
    """Give a part's sound to the narrator."""
    words = places
    for piece in slices(pcm, rate_hz):
        take(piece, words)
        words = []


def slices(pcm: bytes, rate_hz: int) -> Iterator[bytes]:
    """Sound in stretches of `SLICE_MS`."""
    size = 2 * (rate_hz * SLICE_MS // 1000)
    for at in range(0, len(pcm), size):
        yield pcm[at : at + size]
