"""What a client's loudspeaker plays, on the time line of its conversation: every sample and where it came from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16_000
SAMPLES_PER_MS = RATE_HZ // 1000


@dataclass
class Span:
    """A stretch in which sound of one answer plays, in samples since the conversation began."""

    start: int
    end: int
    reply: str


@dataclass(frozen=True)
class Stretch:
    """The same in milliseconds."""

    start_ms: float
    end_ms: float
    reply: str


class Loudspeaker:
    """Plays what it is given, one thing after another; what is scheduled and not yet played can be taken back."""

    def __init__(self) -> None:
        self._pcm: NDArray[np.int16] = np.zeros(RATE_HZ, np.int16)
        self._spans: list[Span] = []

    def play(self, at: int, pcm: NDArray[np.int16], reply: str) -> None:
        """From `at` on, or after what is scheduled already."""
        last = self._spans[-1] if self._spans else None
        start = max(at, last.end) if last else at
        end = start + len(pcm)
        while end > len(self._pcm):
            self._pcm = np.concatenate((self._pcm, np.zeros_like(self._pcm)))
        self._pcm[start:end] = pcm
        if last and last.end == start and last.reply == reply:
            last.end = end
        else:
            self._spans.append(Span(start, end, reply))

    def cut(self, at: int, fade: int = 0) -> list[tuple[NDArray[np.int16], str]]:
        """Play nothing from `at` on, fading out in so many samples after it; returns what is not played."""
        kept = []
        while self._spans and self._spans[-1].end > at:
            span = self._spans.pop()
            begin = max(span.start, at)
            kept.append((self._pcm[begin : span.end].copy(), span.reply))
            if span.start < at:
                self._spans.append(Span(span.start, at, span.reply))
            self._pcm[begin : span.end] = 0
        kept.reverse()
        if kept and fade and self._spans and self._spans[-1].end == at:
            sound, reply = kept[0]
            tail = sound[:fade]
            ramp = np.linspace(1.0, 0.0, len(tail), endpoint=False)
            self.play(at, (tail * ramp).astype(np.int16), reply)
        return kept

    def sound(self, start: int, end: int) -> NDArray[np.int16]:
        """What is played between two moments; before the beginning there is nothing."""
        out = np.zeros(end - start, np.int16)
        begin, stop = max(0, start), min(end, len(self._pcm))
        if stop > begin:
            out[begin - start : stop - start] = self._pcm[begin:stop]
        return out

    @property
    def stretches(self) -> list[Stretch]:
        """When it played what."""
        return [
            Stretch(s.start / SAMPLES_PER_MS, s.end / SAMPLES_PER_MS, s.reply) for s in self._spans
        ]
