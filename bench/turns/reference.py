"""Where speech is in a recording, told by loudness and not by the detector that is judged.

A recording is cut into frames of 10 ms; a frame is speech if the median level of the five around it lies within
20 dB of the 95th percentile of all levels, and if such frames last 100 ms (a syllable does, a knock or a click does
not). Speech begins with the first and ends after the last. That is rough: a soft first or last consonant is left out
(some 50 ms, more where speech fades), and breath, echo and noise as loud as that count as speech. Where the quietest
twentieth of the frames is not 5 dB further down, loudness cannot tell noise from speech, and there is no reference.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duologue.core.audio import ms_to_samples

FRAME_MS = 10

SYLLABLE_MS = 100
"""The least that a stressed syllable lasts."""

CLEAR_DB = 5.0
"""The quietest frames lie this much below what counts as speech, or there is no telling."""

WITHIN_DB = 20.0
"""Below the loudest, still speech."""

EARLY_MS = 200
"""An end this much before the reference's is no matter of how rough the reference is: a final syllable that fades, or
the breath after it, lies within it. Figures without this tolerance are given beside."""

Pcm = NDArray[np.int16]
"""16 kHz mono samples."""


@dataclass(frozen=True)
class Reference:
    """Where speech is in a recording; milliseconds, `pause_ms` the longest stretch without."""

    begin_ms: int
    end_ms: int
    pause_ms: int

    def shifted(self, ms: int) -> "Reference":
        """The same, later."""
        return Reference(self.begin_ms + ms, self.end_ms + ms, self.pause_ms)


def reference(pcm: Pcm, within_db: float = WITHIN_DB) -> Reference | None:
    """Where there is speech; None if loudness cannot tell. See the module."""
    loud = speech_frames(pcm, within_db)
    if loud is None or not loud.any():
        return None
    speech = np.flatnonzero(loud)
    longest = int(np.diff(speech).max(initial=1)) - 1
    return Reference(
        int(speech[0]) * FRAME_MS, (int(speech[-1]) + 1) * FRAME_MS, longest * FRAME_MS
    )


def speech_frames(pcm: Pcm, within_db: float = WITHIN_DB) -> NDArray[np.bool_] | None:
    """Which frames are speech; None if loudness cannot tell."""
    found = levels(pcm)
    if not len(found):
        return None
    threshold = np.percentile(found, 95) - within_db
    if np.percentile(found, 5) > threshold - CLEAR_DB:
        return None
    around = np.lib.stride_tricks.sliding_window_view(np.pad(found, 2, mode="edge"), 5)
    return _lasting(np.median(around, axis=1) >= threshold)


def levels(pcm: Pcm) -> NDArray[np.float64]:
    """Level of each frame in dBFS, digital silence at -120."""
    size = ms_to_samples(FRAME_MS)
    frames = pcm[: len(pcm) // size * size].reshape(-1, size).astype(np.float64) / 32_768
    found: NDArray[np.float64] = 10 * np.log10((frames**2).mean(axis=1) + 1e-12)
    return found


def _lasting(loud: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Only the runs of at least `SYLLABLE_MS`."""
    edges = np.flatnonzero(np.diff(loud.astype(np.int8), prepend=0, append=0))
    lasting = np.zeros_like(loud)
    for begin, end in edges.reshape(-1, 2):
        lasting[begin:end] = (end - begin) * FRAME_MS >= SYLLABLE_MS
    return lasting
