"""When each word is said, as far as can be guessed: CSM does not tell, so letters are spread evenly over the sound.

While it is spoken its length is not known yet, so the voice's pace so far is taken for it; words that turn out to be
left at the end are told then.
"""

from collections.abc import Iterator

from duologue.engines.voices.word_places import letters_before

RATE_HZ = 24_000

LETTERS_PER_S = 15.0
"""Of English: 170 words a minute, with what pauses count for. Where no other pace is known."""

SMOOTHING = 0.3
"""Weight of the latest piece in the pace."""

SHORTEST_S = 0.5
"""A shorter sound tells nothing about the pace."""

_PLAUSIBLE = (4.0, 40.0)
"""Letters a second; beyond is no speech of this text."""

Place = tuple[int, int]
"""(sample of the sound, character of the text)."""


class Pace:
    """How fast a voice has spoken so far, in letters a second."""

    def __init__(self) -> None:
        self.letters_per_s = LETTERS_PER_S

    def heard(self, letters: int, samples: int) -> None:
        """So many letters took so long."""
        if samples < SHORTEST_S * RATE_HZ:
            return
        pace = min(max(letters * RATE_HZ / samples, _PLAUSIBLE[0]), _PLAUSIBLE[1])
        self.letters_per_s += SMOOTHING * (pace - self.letters_per_s)


class Words:
    """The words of one text, told as its sound comes."""

    def __init__(self, text: str, pace: Pace) -> None:
        *self._left, (self._letters, _) = letters_before(f"{text} end")
        self._pace = pace
        self._samples = 0

    def during(self, samples: int) -> list[Place]:
        """Those that begin in the next so many samples."""
        self._samples += samples
        return list(self._begun(RATE_HZ / self._pace.letters_per_s))

    def end(self) -> list[Place]:
        """There is no more sound: the words that are left, at its end. The pace has learned."""
        self._pace.heard(self._letters, self._samples)
        left, self._left = self._left, []
        return [(max(0, self._samples - 1), char) for _, char in left]

    def _begun(self, samples_per_letter: float) -> Iterator[Place]:
        while self._left and self._left[0][0] * samples_per_letter < self._samples:
            letters, char = self._left.pop(0)
            yield int(letters * samples_per_letter), char
