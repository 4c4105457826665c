"""Whisper's log-mel picture of sound, as Smart Turn takes it: 8 s at 16 kHz, [80, 800], in numpy.

The steps: sound before the 8 s is silence; mean 0 and variance 1; spectra of 25 ms every 10 ms under a Hann
window, the ends mirrored; power summed into 80 mel bands from 0 to 8 kHz; log10, no further than 8 below the
loudest; (x + 4) / 4. Numbers: Radford et al. 2022, section 2.2, and the features of Whisper's reference code.
"""

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

RATE_HZ = 16_000
SAMPLES = 8 * RATE_HZ
BANDS = 80
FRAMES = 800
SPECTRUM = 400
"""Samples of one spectrum: 25 ms."""
HOP = 160
"""Samples from one spectrum to the next: 10 ms."""

AT_A_TIME = 80
"""Spectra at a time: small pieces stay in the cache, and the allocator need not ask the system for pages."""

QUIETEST = 1e-10
"""Power that silence is taken for, so that it has a logarithm."""
RANGE = 8.0
"""Powers of ten between the loudest and what still counts: 80 dB."""
STILL = 1e-7
"""Added to the variance, so that silence can be divided by it."""


def log_mel(pcm: bytes) -> NDArray[np.float32]:
    """The picture of the last 8 s of 16 kHz mono int16 sound: [80, 800], mostly within -1..1."""
    sound = np.pad(_normalised(pcm), SPECTRUM // 2, mode="reflect")
    frames = sliding_window_view(sound, SPECTRUM)[::HOP]
    power = np.empty((BANDS, FRAMES), np.float32)
    for at in range(0, FRAMES, AT_A_TIME):
        spectra = np.fft.rfft(frames[at : at + AT_A_TIME] * _window(), axis=-1)
        squares = spectra.real**2 + spectra.imag**2
        power[:, at : at + AT_A_TIME] = mel_filters() @ squares.T.astype(np.float32, copy=False)
    levels = np.log10(np.maximum(power, np.float32(QUIETEST)))
    np.maximum(levels, levels.max() - np.float32(RANGE), out=levels)
    levels += 4
    levels /= 4
    return levels


def _normalised(pcm: bytes) -> NDArray[np.float32]:
    """8 s that end with this sound, with mean 0 and variance 1."""
    samples = np.frombuffer(pcm, np.int16)[-SAMPLES:]
    sound = np.zeros(SAMPLES, np.float32)
    if len(samples):
        np.multiply(samples, np.float32(1 / 32768), out=sound[-len(samples) :])
    sound -= sound.mean()
    sound /= np.sqrt(sound.var() + np.float32(STILL))
    return sound


@cache
def _window() -> NDArray[np.float32]:
    """Hann, periodic: it would be 0 again one sample after its last."""
    phase = np.arange(SPECTRUM) * (2 * np.pi / SPECTRUM)
    window: NDArray[np.float32] = ((1 - np.cos(phase)) / 2).astype(np.float32)
    return window


@cache
def mel_filters() -> NDArray[np.float32]:
    """What each frequency of a spectrum gives to each band: [80, 201].

    Triangles over each other's middles, evenly spaced in mel, and all of the same area.
    """
    corners_hz = _hz_of_mel(np.linspace(0, _mel_of_hz(RATE_HZ / 2), BANDS + 2))
    low, middle, high = corners_hz[:-2, None], corners_hz[1:-1, None], corners_hz[2:, None]
    at_hz = np.linspace(0, RATE_HZ / 2, SPECTRUM // 2 + 1)
    rising = (at_hz - low) / (middle - low)
    falling = (high - at_hz) / (high - middle)
    triangles = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return triangles.astype(np.float32)


# Slaney's mel scale (Auditory Toolbox, 1998): 200/3 Hz a mel below 1 kHz, then 27 mels for a factor of 6.4.
_BEND_HZ = 1000.0
_BEND_MEL = 15.0
_STEP = np.log(6.4) / 27


def _mel_of_hz(hz: float) -> float:
    """Of a frequency above 1 kHz."""
    return float(_BEND_MEL + np.log(hz / _BEND_HZ) / _STEP)


def _hz_of_mel(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _BEND_HZ * np.exp(_STEP * (mel - _BEND_MEL))
    return np.where(mel < _BEND_MEL, mel * 200 / 3, above)
