"""From the samples of one utterance to the session's stream, for engines that say when a word was spoken."""

from duologue.core.audio import SAMPLE_BYTES, AudioFrame, Ms, samples_to_ms

MAX_GAPS = 1_000
"""Gaps remembered; an utterance has few, for sound is left out only between two of them."""


class Timeline:
    """Where the sound that an engine was given since the last flush lies on the stream."""

    __slots__ = ("_joints", "_samples")

    def __init__(self) -> None:
        self._joints: list[
            tuple[int, int]
        ] = []  # (sample of the utterance, its position on the stream)
        self._samples = 0

    def add(self, frame: AudioFrame) -> None:
        """The next frame."""
        if not self._joints or (
            frame.start != self._at(self._samples) and len(self._joints) < MAX_GAPS
        ):
            self._joints.append((self._samples, frame.start))
        self._samples += len(frame.pcm) // SAMPLE_BYTES

    def clear(self) -> None:
        """A new utterance begins with the next frame."""
        self._joints.clear()
        self._samples = 0

    def ms(self, sample: int) -> Ms:
        """The position of a sample of the utterance; one beyond its end is taken for its end."""
        return samples_to_ms(self._at(max(0, min(sample, self._samples))))

    def _at(self, sample: int) -> int:
        for first, position in reversed(self._joints):
            if first <= sample:
                return position + sample - first
        return sample
