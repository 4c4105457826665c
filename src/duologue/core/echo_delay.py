"""How long after it was played a sound comes back: generalised cross-correlation (Knapp and Carter, 1976).

Both spectra are flattened before they are compared, so that a voice's pitch, which makes any two voices alike at
some delay, counts no more than the rest of it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from duologue.core.audio import STREAM

_FROM_HZ, _UPTO_HZ = 150, 4_000
"""Where small loudspeakers play and telephones carry."""

_FLATTEN = 0.85
"""Exponent of the weighting; 1 is the phase transform, which takes quiet bins for as good as loud ones."""

_APART = 8
"""Points around the peak that belong to it: 1 ms either side."""


class Match(NamedTuple):
    """The best delay, and how good it is.

    Attributes:
        delay: samples from played to heard.
        clarity: the peak's height against the next best's, at least 1. Unrelated voices: 1.1, and rarely above 1.4.
        share: the peak's height against what all of it would give at one delay, 0 to 1. A pure copy reaches 0.3 to
            0.9, for what was played before and after counts, too; unrelated voices 0.05 to 0.16.
    """

    delay: int
    clarity: float
    share: float


def find_delay(heard: NDArray[np.float32], played: NDArray[np.float32], least: int) -> Match:
    """Where in `played` lies what was `heard`?

    Args:
        heard: the microphone's sound.
        played: longer by the delays to be tried; its end is delayed by `least` samples (negative: it is newer).
    """
    tried = len(played) - len(heard)
    size = 1 << (len(played) - 1).bit_length()
    low, high = (hz * size // STREAM.rate_hz for hz in (_FROM_HZ, _UPTO_HZ))
    cross = np.zeros(high, np.complex64)
    mine, theirs = (np.fft.rfft(x, size)[low:high] for x in (heard, played))
    cross[low:] = mine * np.conj(theirs) / (_level(mine) * _level(theirs))
    points = np.fft.irfft(cross, size // 2)  # half the band, half the points: one for two samples
    places = np.maximum(points[-np.arange(tried // 2) % len(points)], 0.0)
    best = int(places.argmax())
    near = slice(max(0, best - _APART), best + _APART + 1)
    peak = float(places[best])
    places[near] = 0.0
    whole = float(np.abs(cross).sum()) * 2 / len(points)
    clarity = peak / max(float(places.max()), 1e-9)
    return Match(least + tried - 2 * best, clarity, peak / max(whole, 1e-9))


def _level(spectrum: NDArray[np.complexfloating]) -> NDArray[np.float32]:
    size = np.abs(spectrum)
    level: NDArray[np.float32] = (size + 1e-3 * size.max() + 1e-9) ** _FLATTEN
    return level
