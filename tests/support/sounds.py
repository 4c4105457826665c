"""Sounds made for a test, and how loud they are."""

import numpy as np


def tone(hz: float, ms: int, rate_hz: int = 24_000, amplitude: int = 9_000) -> bytes:
    """A sine as mono 16-bit samples."""
    t = np.arange(rate_hz * ms // 1000) / rate_hz
    return (np.sin(2 * np.pi * hz * t) * amplitude).astype("<i2").tobytes()


def level_db(pcm: bytes, hz: float, rate_hz: int = 24_000) -> float:
    """The level of one tone (a multiple of 20 Hz), in dB to an arbitrary zero; the ends do not count."""
    sound = np.frombuffer(pcm, np.int16).astype(np.float64)
    whole = rate_hz // 20
    size = len(sound) * 8 // 10 // whole * whole
    sound = sound[(len(sound) - size) // 2 :][:size]
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) / len(sound)
    at = round(hz * len(sound) / rate_hz)
    return float(20 * np.log10(spectrum[at - 3 : at + 4].max() + 1e-9))
