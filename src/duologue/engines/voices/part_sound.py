"""The sound of a stretch of text, on its way from a synthesiser to the listener: trimmed, levelled, in chunks.

Synthesisers begin with silence (flite with 200 ms of it), and that is time in which the listener waits. So
it is cut; silence within is held back until more sound shows that it is a pause and not the end.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL_DBFS = -20.0
"""Loudness of speech, as the root mean square of what is not a pause. Loud enough for the small speaker of a
laptop or a phone (telephony's nominal -26 dBov is for a handset at the ear), and 15 to 19 dB under the peaks
of these voices, so that hardly any needs to be bent. It is what espeak-ng gives unasked."""

KNEE = 0.7
CEILING = 0.95
"""Shares of full scale. A peak above the knee is bent, so that none reaches the ceiling: a resampler behind
us overshoots by a few per cent, and would clip what is full scale here."""

SILENCE_DBFS = -50.0
FRAME_MS = 5
"""A frame whose root mean square is below is silence: the breath of an f or an h is above, what the vocoders
of flite make of nothing (-56 dBFS once it is levelled) below."""

LEAD_MS = 20
TAIL_MS = 40
"""Kept before the first and after the last audible frame: soft beginnings, and no click."""

FIRST_CHUNK_MS = 20
CHUNK_MS = 100
"""The first sound at once, and then ten events a second, for each costs a hop between processes."""

MOST_GAIN_DB = 12.0
"""A voice that is further from the level than this is meant to be: a whisper, a crowd."""

_FULL_SCALE = 32_768.0
_SILENT_POWER = (_FULL_SCALE * 10 ** (SILENCE_DBFS / 20)) ** 2

Samples = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of 16-bit sound, and the words that begin in it: (ms from the part's first sample, character)."""

    pcm: bytes
    words: tuple[tuple[float, int], ...]


class PartSound:
    """Takes raw sound and gives it out ready to be heard.

    Args:
        rate_hz: of the sound.
        gain: to be multiplied with.
        gap_ms: silence there is to be before the first audible frame, if there is one.

    Attributes:
        tail_ms: silence at the end of what was given out, after `end`.
    """

    def __init__(self, rate_hz: int, gain: float, gap_ms: float) -> None:
        self._rate_hz = rate_hz
        self._gain = gain
        self._lead, self._tail = (rate_hz * ms // 1000 for ms in (LEAD_MS, TAIL_MS))
        self._frame = rate_hz * FRAME_MS // 1000
        self._gap = max(0, int(rate_hz * gap_ms / 1000))
        self.tail_ms = 0.0
        self._ready = np.zeros(0, np.int16)
        self._held = np.zeros(0, np.int16)  # silence, until it is known what follows
        self._taken = 0  # raw samples
        self._shift: int | None = None  # from a raw sample's place to that in what is given out
        self._start = 0  # before it no word begins
        self._given = 0
        self._words: list[tuple[int, int]] = []

    @property
    def given_ms(self) -> float:
        """Sound given out so far, the silence before it included."""
        return self._ms(self._given)

    def add(self, pcm: bytes, words: Sequence[tuple[int, int]] = ()) -> Chunk | None:
        """Take raw sound; gives what is ready, if that is enough for a chunk.

        Args:
            pcm: any stretch.
            words: (sample of all the raw sound, character), in order; the first in time to be told with it.
        """
        samples = np.concatenate((self._held, levelled(pcm, self._gain)))
        first = self._taken - len(self._held)
        self._taken = first + len(samples)
        self._words += words
        ends = self._ends_of_audible(samples)
        if self._shift is None:
            if self._words:  # a hum before the first word is silence, too
                ends = ends[ends > self._words[0][0] - first]
            if not len(ends):
                self._held = samples[-self._lead - self._frame :]
                return None
            begin = self._begin(int(ends[0]) - self._frame, first)
            samples, ends = samples[begin:], ends - begin
        end = int(ends[-1]) if len(ends) else 0
        self._ready = np.concatenate((self._ready, samples[:end]))
        self._held = samples[end:]
        wanted_ms = CHUNK_MS if self._given else FIRST_CHUNK_MS
        return self._give() if end and self._ms(len(self._ready)) >= wanted_ms else None

    def _begin(self, sound: int, first: int) -> int:
        """There is sound, at this of the samples at hand; gives from where on they are wanted.

        Args:
            first: which of all raw samples the first at hand is.
        """
        begin = max(0, sound - self._lead)
        self._ready = np.zeros(max(0, self._gap - (sound - begin)), np.int16)
        self._start = len(self._ready)
        self._shift = self._start - (first + begin)
        return begin

    def end(self) -> Chunk | None:
        """There is no more: gives the rest, without the silence at its end."""
        if self._shift is None:
            return None
        tail = self._held[: self._tail]
        self.tail_ms = self._ms(len(tail))
        self._ready = np.concatenate((self._ready, tail))
        return self._give() if len(self._ready) else None

    def _ends_of_audible(self, samples: Samples) -> NDArray[np.intp]:
        """Where the frames end that can be heard."""
        whole = len(samples) - len(samples) % self._frame
        frames = samples[:whole].astype(np.float32).reshape(-1, self._frame)
        audible = np.flatnonzero(np.mean(frames**2, axis=1) > _SILENT_POWER)
        return (audible + 1) * self._frame

    def _give(self) -> Chunk:
        pcm = self._ready.tobytes()
        self._given += len(self._ready)
        self._ready = np.zeros(0, np.int16)
        assert self._shift is not None
        begun = []
        while self._words and self._words[0][0] + self._shift < self._given:
            sample, char = self._words.pop(0)
            begun.append((self._ms(max(sample + self._shift, self._start)), char))
        return Chunk(pcm, tuple(begun))

    def _ms(self, samples: int) -> float:
        return samples * 1000 / self._rate_hz


def levelled(pcm: bytes, gain: float) -> Samples:
    """Sound times `gain`, its peaks bent under the ceiling."""
    sound = np.frombuffer(pcm, "<i2").astype(np.float32) * np.float32(gain / _FULL_SCALE)
    size = np.abs(sound)
    if len(sound) and size.max() > KNEE:
        room = CEILING - KNEE
        bent = KNEE + room * np.tanh((size - KNEE) / room)
        sound = np.where(size > KNEE, np.copysign(bent, sound), sound)
    samples: Samples = np.rint(sound * _FULL_SCALE).astype(np.int16)
    return samples


def level_dbfs(pcm: bytes, rate_hz: int) -> float:
    """Loudness of speech: root mean square of the 20 ms frames within 30 dB of the loudest one.

    The idea of ITU-T P.56's active speech level, without its filters; -inf for silence.
    """
    frame = rate_hz // 50
    samples = np.frombuffer(pcm[: len(pcm) // (2 * frame) * (2 * frame)], "<i2").astype(np.float64)
    power = np.mean(samples.reshape(-1, frame) ** 2, axis=1)
    if not power.any():
        return -math.inf
    return 10 * math.log10(np.mean(power[power > power.max() / 1000]) / _FULL_SCALE**2)


def gain_for(level: float) -> float:
    """What brings sound of this level (dBFS) to `LEVEL_DBFS`."""
    if level == -math.inf:
        return 1.0
    return float(10 ** (min(max(LEVEL_DBFS - level, -MOST_GAIN_DB), MOST_GAIN_DB) / 20))
