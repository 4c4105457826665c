"""Sounds made for scenarios: pauses put into speech, noise at a level, babble, coughs, and what a voice says.

Coughs and backchannels are synthesised, for no recording at hand has any: a cough is one to three bursts of shaped
noise, each an explosive onset of some 40 ms and a decay of 150 to 250 ms with some glottal pulses in it; "mhm" is two
nasal murmurs with a breath between them; other backchannels are spoken by the embedded voices. Real ones differ, so
figures on them say how the rules work, not how people cough.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bench.turns import answers
from bench.turns.reference import FRAME_MS, Pcm, levels, speech_frames
from duologue.core.audio import ms_to_samples

Real = NDArray[np.float64]

SPEECH_DBFS = -26.0
"""Level of what is synthesised, over its loud part: the usual one of recorded speech (ITU-T P.56 aims at -26)."""

PINK = "pink"
WHITE = "white"


def active_dbfs(pcm: Pcm) -> float:
    """Level over the frames that are speech; over the loudest third where loudness cannot tell."""
    found = levels(pcm)
    if not len(found):
        return -120.0
    speech = speech_frames(pcm)
    if speech is None or not speech.any():
        speech = found >= np.percentile(found, 67)
    return float(10 * np.log10((10 ** (found[speech] / 10)).mean()))


def at_level(sound: Real, dbfs: float) -> Real:
    """Scaled to this root mean square."""
    rms = np.sqrt((sound**2).mean()) + 1e-9
    return np.asarray(sound * (32_768 * 10 ** (dbfs / 20) / rms), np.float64)


def as_speech(pcm: Pcm) -> Pcm:
    """Scaled so that its loud part has the level of recorded speech."""
    scaled = pcm.astype(np.float64) * 10 ** ((SPEECH_DBFS - active_dbfs(pcm)) / 20)
    return to_pcm(scaled)


def to_pcm(sound: Real) -> Pcm:
    """To 16 bits, clipped."""
    return sound.round().clip(-32_768, 32_767).astype(np.int16)


# --- pauses ---
def with_pause(pcm: Pcm, at: float, pause_ms: int) -> Pcm:
    """A pause put in at the quietest place near a share of the speech, filled with the recording's own hush."""
    found = levels(pcm)
    smooth = np.convolve(found, np.ones(7) / 7, mode="same")
    speech = speech_frames(pcm)
    inside = (
        np.flatnonzero(speech) if speech is not None and speech.any() else np.arange(len(found))
    )
    first, last = int(inside[0]), int(inside[-1])
    length = last - first
    begin = first + round(length * max(0.1, at - 0.2))
    end = first + round(length * min(0.9, at + 0.2))
    place = begin + int(np.argmin(smooth[begin : max(begin + 1, end)]))
    cut = place * ms_to_samples(FRAME_MS)
    return np.concatenate((pcm[:cut], hush_like(pcm, pause_ms), pcm[cut:]))


def hush_like(pcm: Pcm, ms: int) -> Pcm:
    """Noise as loud as the quietest twentieth of a recording; always the same noise."""
    level = float(np.percentile(levels(pcm), 5)) if len(pcm) else -70.0
    noise = np.random.default_rng(2).standard_normal(ms_to_samples(ms))
    return to_pcm(at_level(noise, max(-75.0, min(-50.0, level))))


# --- noise ---
@lru_cache(maxsize=16)
def coloured(colour: str, ms: int, seed: int) -> Real:
    """White or pink noise."""
    size = ms_to_samples(ms)
    white = np.random.default_rng(seed).standard_normal(size)
    if colour == WHITE:
        return white
    spectrum = np.fft.rfft(white)
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    return np.asarray(np.fft.irfft(spectrum, size), np.float64)


def babble(voices: Sequence[Pcm], ms: int) -> Real:
    """Several people at once, each said over and over from another place."""
    size = ms_to_samples(ms)
    total = np.zeros(size)
    for number, voice in enumerate(voices):
        if len(voice):
            begun = np.roll(voice, -(number * len(voice)) // max(1, len(voices)))
            looped = np.resize(begun, size).astype(np.float64)
            total += looped * 10 ** ((SPEECH_DBFS - active_dbfs(voice)) / 20)
    return total


# --- coughs and words ---
def cough(seed: int, bursts: int = 2) -> Pcm:
    """See the module."""
    random = np.random.default_rng(1_000 + seed)
    parts: list[Real] = []
    for number in range(bursts):
        parts.append(_burst(random) * (1.0 if number == 0 else random.uniform(0.5, 0.9)))
        parts.append(np.zeros(ms_to_samples(int(random.uniform(60, 180)))))
    sound = np.concatenate(parts[:-1])
    return to_pcm(sound / np.abs(sound).max() * 14_000)


def _burst(random: np.random.Generator) -> Real:
    onset, decay = (
        ms_to_samples(int(random.uniform(30, 50))),
        ms_to_samples(int(random.uniform(150, 250))),
    )
    size = onset + decay
    noise = random.standard_normal(size)
    t = np.arange(size) / 16_000
    pitch = random.uniform(140, 260) * np.exp(-2.0 * t)
    pulses = np.mod(np.cumsum(pitch) / 16_000, 1.0) - 0.5
    tract = _resonance(noise + 1.5 * pulses * (t > onset / 16_000), random.uniform(500, 900), 300)
    tract += 0.5 * _resonance(noise, random.uniform(1_400, 2_200), 500)
    rise = np.minimum(1.0, np.arange(size) / ms_to_samples(5))
    fall = np.where(np.arange(size) < onset, 1.0, np.exp(-(np.arange(size) - onset) / (decay / 3)))
    return np.asarray(tract * rise * fall, np.float64)


def hum(seed: int) -> Pcm:
    """ "Mhm": two nasal murmurs with a breath between them, the second higher; no voice at hand can say it."""
    random = np.random.default_rng(2_000 + seed)
    base = random.uniform(110, 220)
    first = _murmur(random, base, base * 0.92, int(random.uniform(110, 170)))
    second = _murmur(random, base * 1.1, base * 1.25, int(random.uniform(150, 230)))
    breath = random.standard_normal(ms_to_samples(int(random.uniform(40, 70))))
    gap = 0.04 * _resonance(breath, 1_200, 700)
    sound = np.concatenate((first, gap, second))
    return as_speech(to_pcm(sound / np.abs(sound).max() * 8_000))


def _murmur(random: np.random.Generator, from_hz: float, to_hz: float, ms: int) -> Real:
    """A voice behind closed lips: pulses, and the resonances of the nose."""
    size = ms_to_samples(ms)
    phase = np.cumsum(np.linspace(from_hz, to_hz, size)) / 16_000
    pulses = 1.0 - 2.0 * np.mod(phase, 1.0) + 0.02 * random.standard_normal(size)
    tone = _resonance(pulses, 250, 120) + 0.15 * _resonance(pulses, 1_100, 250)
    edge = min(size // 2, ms_to_samples(30))
    shape = np.ones(size)
    shape[:edge] = np.linspace(0, 1, edge)
    shape[-edge:] = np.linspace(1, 0, edge)
    return np.asarray(tone * shape, np.float64)


def _resonance(sound: Real, hz: float, width_hz: float) -> Real:
    """A band of it."""
    spectrum = np.fft.rfft(sound)
    at = np.fft.rfftfreq(len(sound), 1 / 16_000)
    spectrum *= np.exp(-(((at - hz) / width_hz) ** 2))
    out = np.fft.irfft(spectrum, len(sound))
    return np.asarray(out / (np.abs(out).max() + 1e-9), np.float64)


@lru_cache(maxsize=256)
def said(text: str, voice: int) -> Pcm | None:
    """A text by one of the embedded voices, counted round; None if there is no voice on this machine."""
    known = answers.voices()
    if not known:
        return None
    engine, name = known[voice % len(known)]
    sound = np.frombuffer(answers.spoken(text, engine, name), np.int16)
    return as_speech(sound) if len(sound) else None
