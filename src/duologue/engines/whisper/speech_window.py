"""The sound of one utterance for a recogniser that looks at a limited stretch at a time.

Sound that outgrows the stretch is cut where it is quietest, which in speech is nearly always between two
words, so each piece can be transcribed for itself; the cut follows from the sound alone.
"""

import numpy as np
from numpy.typing import NDArray

from duologue.core.audio import STREAM, ms_to_samples

LIMIT_MS = 28_000
"""A piece's greatest length: Whisper's 30 s, less a margin, since its timing is worst at the very end."""

CUT_FROM_MS = 18_000
"""Earliest cut. Ten seconds are enough for at least one breath."""

PAUSE_MS = 240
"""The quiet that is looked for: longer than the closure of a "t", shorter than a pause between phrases."""

STEP_MS = 20

AUDIBLE = 0.002
"""Peak below which there is nothing to recognise (-54 dB of full scale): a microphone's own noise."""

SHORTEST_MS = 100
"""Shorter than any word. The Realtime protocol, too, refuses less as an utterance."""

Samples = NDArray[np.float32]
"""Mono, within -1..1, at 16 kHz."""


class SpeechWindow:
    """Sound since the last cut or flush."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._bytes = 0

    @property
    def samples(self) -> int:
        """How much there is."""
        return self._bytes // 2

    def add(self, pcm: bytes) -> Samples | None:
        """More sound, 16-bit little-endian; returns the piece that is complete, once there is one."""
        self._chunks.append(pcm)
        self._bytes += len(pcm)
        if self.samples < ms_to_samples(LIMIT_MS):
            return None
        sound = self.peek()
        cut = quietest(sound)
        left = b"".join(self._chunks)[cut * 2 :]
        self._chunks, self._bytes = [left], len(left)
        return sound[:cut]

    def peek(self) -> Samples:
        """All that there is."""
        return np.frombuffer(b"".join(self._chunks), "<i2").astype(np.float32) / np.float32(32_768)

    def take(self) -> Samples:
        """All that there is; after this, nothing."""
        sound = self.peek()
        self._chunks, self._bytes = [], 0
        return sound


def quietest(sound: Samples) -> int:
    """Where to cut: the middle of the quietest `PAUSE_MS` after `CUT_FROM_MS`, in samples."""
    step, first = ms_to_samples(STEP_MS), ms_to_samples(CUT_FROM_MS)
    steps = (len(sound) - first) // step
    power = np.square(sound[first : first + steps * step]).reshape(steps, step).mean(axis=1)
    pause = PAUSE_MS // STEP_MS
    loudness = np.convolve(power, np.ones(pause), "valid")
    return first + (int(loudness.argmin()) * 2 + pause) * step // 2


def is_audible(sound: Samples) -> bool:
    """Whether there is anything to recognise in it."""
    return len(sound) * 1000 >= SHORTEST_MS * STREAM.rate_hz and bool(
        np.abs(sound).max() >= AUDIBLE
    )
