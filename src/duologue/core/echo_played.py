"""What was played to the listener, by its place on the input's stream clock."""

import numpy as np
from numpy.typing import NDArray

SIZE = 1 << 16
"""Samples kept: four seconds, of which a good second is what may still come back and the rest is yet to be heard."""


class Played:
    """A ring of sound. Where nothing was played there is silence.

    Attributes:
        first, end: from the first sample of the present stretch of answers to its last.
    """

    def __init__(self) -> None:
        self._ring = np.zeros(SIZE, np.int16)
        self._upto = 0  # the ring is good for the `SIZE` samples before
        self.first = self.end = 0

    def write(self, at: int, pcm: NDArray[np.int16]) -> None:
        """Sound that is heard from there on. What is there already sounds on under it."""
        pcm = pcm[:SIZE]
        end = at + len(pcm)
        if end > self._upto:
            self._fill(max(self._upto, end - SIZE), end)
            self._upto = end
        start = max(at, self._upto - SIZE)
        for here, there in _spans(start, end):
            mixed = self._ring[there].astype(np.int32) + pcm[here.start - at : here.stop - at]
            self._ring[there] = mixed.clip(-32768, 32767)

    def cut(self, at: int) -> None:
        """From there on nothing is heard after all."""
        if at < self._upto:
            self._fill(max(at, self._upto - SIZE), self._upto)
        self.end = min(self.end, at)

    def read(self, first: int, end: int) -> NDArray[np.float32]:
        """The sound between two places, full scale at 1.0."""
        sound = np.zeros(end - first, np.float32)
        lowest = max(first, self._upto - SIZE, 0)
        for here, there in _spans(lowest, min(end, self._upto)):
            sound[here.start - first : here.stop - first] = self._ring[there]
        sound *= 1 / 32768
        return sound

    def _fill(self, first: int, end: int) -> None:
        for _, there in _spans(first, end):
            self._ring[there] = 0


def _spans(first: int, end: int) -> list[tuple[slice, slice]]:
    """Where a stretch lies in the ring: the parts of it, and their places there."""
    if end <= first:
        return []
    at, over = first % SIZE, (first % SIZE) + end - first - SIZE
    if over <= 0:
        return [(slice(first, end), slice(at, at + end - first))]
    middle = end - over
    return [(slice(first, middle), slice(at, SIZE)), (slice(middle, end), slice(0, over))]
