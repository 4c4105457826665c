"""A model of the way from the listener's loudspeaker to their microphone, learnt while it is used.

A partitioned-block Kalman filter in the frequency domain, after Enzner and Vary (Signal Processing 86, 2006) and
Kuech, Mabande and Enzner (ICASSP 2014). Each coefficient knows how sure it is, and what cannot be predicted is taken
for noise of its level. So it learns within a few hundred milliseconds, and needs nobody to tell it when the user
speaks over the echo: it learns more slowly then.
"""

import numpy as np
from numpy.typing import NDArray

from duologue.core.audio import WINDOW_SAMPLES

Sound = NDArray[np.float32]
"""16 kHz, full scale at 1.0."""

PARTS = 6
"""Windows of echo path that are modelled: 192 ms. What a living room leaves after that is 20 dB down and more."""

_BLOCK = 2 * WINDOW_SAMPLES
_BINS = WINDOW_SAMPLES + 1

_KEEP = 0.999
"""How much of what is known stays true from window to window: a person walking by, a clock that drifts."""

_LATER = 0.25
"""The variance expected of a part of the path, against that of the part before it: rooms decay."""

_SURE = 1e-9
"""No coefficient is ever surer than this."""


class EchoFilter:
    """Predicts the echo in a microphone's windows from what was played. Costs about 0.15 ms a window.

    Attributes:
        doubt: power that the last prediction may be wrong by, as far as the model knows itself.
    """

    def __init__(self) -> None:
        self.doubt = 0.0
        self._path = np.zeros((PARTS, _BINS), np.complex64)
        decay = _LATER ** np.arange(PARTS, dtype=np.float32)
        self._unsure = np.repeat(decay[:, None], _BINS, axis=1)
        self._played = np.zeros((PARTS, _BINS), np.complex64)
        self._power = _power(self._played)
        self._noise = np.zeros(_BINS, np.float32)

    def align(self, played: Sound) -> None:
        """Go on at another place of what was played: the `PARTS + 1` windows before the next one's."""
        blocks = np.lib.stride_tricks.sliding_window_view(played, _BLOCK)[::WINDOW_SAMPLES]
        self._played = np.fft.rfft(blocks[::-1], axis=1).astype(np.complex64)

    def step(self, heard: Sound, played: Sound, *, learn: bool) -> Sound:
        """The echo in one window, as predicted.

        Args:
            heard: the microphone's window.
            played: what was played in this window and the one before.
            learn: from what the window really holds.
        """
        self._played = np.roll(self._played, 1, axis=0)
        self._played[0] = np.fft.rfft(played)
        self._power = _power(self._played)
        self.doubt = float(np.vdot(self._power, self._unsure)) / _BINS
        spectrum = (self._played * self._path).sum(axis=0)
        echo: Sound = np.fft.irfft(spectrum)[WINDOW_SAMPLES:].astype(np.float32)
        if learn:
            self._learn(heard - echo)
        return echo

    def _learn(self, error: Sound) -> None:
        padded = np.zeros(_BLOCK, np.float32)
        padded[WINDOW_SAMPLES:] = error
        missed = np.fft.rfft(padded).astype(np.complex64)
        self._noise = 0.5 * self._noise + 0.5 * _power(missed)
        self._unsure = _KEEP**2 * self._unsure + (1 - _KEEP**2) * _power(self._path)
        gain = self._unsure / (
            np.einsum("pk,pk->k", self._power, self._unsure) + 2 * self._noise + 1e-6
        )
        change = np.fft.irfft(gain * np.conj(self._played) * missed, axis=1)
        change[:, WINDOW_SAMPLES:] = 0.0  # a path is no longer than its part
        self._path += np.fft.rfft(change, axis=1).astype(np.complex64)
        self._unsure *= 1.0 - 0.5 * gain * self._power
        np.maximum(self._unsure, _SURE, out=self._unsure)


def _power(spectrum: NDArray[np.complex64]) -> Sound:
    power: Sound = spectrum.real**2 + spectrum.imag**2
    return power
