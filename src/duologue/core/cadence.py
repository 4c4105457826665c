"""How a voice falls towards the end of what it says: loudness per window -> a cadence.

Speakers let their voice sink where they finish and keep it up where they go on. Loudness shows part of that, at no
cost: every window's power is known before the speech detector sees it.
"""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duologue.core.audio import WINDOW_SAMPLES, samples_to_ms

END_WINDOWS = 10
"""A third of a second: the last syllable and a half."""

SLOPE_WINDOWS = 20
"""Two thirds of a second: the last few syllables."""

KEPT_WINDOWS = SLOPE_WINDOWS + 16
"""Those of the slope, and what it takes to notice that speech has ended."""

FLOOR_DB = 35.0
"""What lies further below the loudest window is a room's noise, and rooms differ."""

FEWEST_WINDOWS = 5
"""A line through fewer points tells nothing."""


BRIGHTEST_MURMUR = 0.015
"""Of a sound behind closed lips nearly all is below 500 Hz: power of its differences from sample to sample, by its
power, in its brightest window. Hums stay below 0.012; the dullest of 219 recordings of speech reaches 0.057."""

LEVEL_KEPT = 0.01
"""Windows 20 dB below the loudest are breath and room."""


@dataclass(frozen=True, slots=True)
class Cadence:
    """How the end of speech compares with the rest of the turn.

    Attributes:
        fall_db: how much softer the loudest window of the last third of a second is than the loudest of the turn.
        slope_db_per_s: how the loudness goes in the last two thirds; negative where it sinks.
    """

    fall_db: float
    slope_db_per_s: float


def is_murmur(sound: NDArray[np.int16]) -> bool:
    """Whether a stretch of 16 kHz sound is a hum ("mhm") and no word; False for what is too short to tell."""
    count = len(sound) // WINDOW_SAMPLES
    if not count:
        return False
    windows = sound[: count * WINDOW_SAMPLES].reshape(count, WINDOW_SAMPLES).astype(np.float32)
    power = np.einsum("ij,ij->i", windows, windows)
    steps = np.diff(windows, axis=1)
    loud = power > LEVEL_KEPT * max(float(power.max()), 1.0)
    brightness = np.einsum("ij,ij->i", steps, steps)[loud] / power[loud]
    return bool(loud.any()) and float(brightness.max()) < BRIGHTEST_MURMUR


class Loudness:
    """The loudness of one stream, as far as a cadence needs it."""

    __slots__ = ("_last", "_loudest", "_since", "_talking")

    def __init__(self) -> None:
        self._talking = False
        self._loudest = 0.0
        self._last: deque[float] = deque(maxlen=KEPT_WINDOWS)
        self._since = 0  # windows since speech began

    def heed(self, power: float) -> None:
        """The next window's power: its sum of squares in any unit that stays the same."""
        self._last.append(power)
        self._since += 1
        if self._talking and power > self._loudest:
            self._loudest = power

    def speech_began(self, windows: int) -> None:
        """So many windows ago."""
        self._talking, self._since = True, windows
        self._loudest = max(self._loudest, *list(self._last)[-windows:])

    def speech_ended(self, windows: int) -> Cadence | None:
        """So many windows ago; None where nothing is known of it."""
        ended = list(self._last)[: len(self._last) - windows]
        spoken = ended[-max(1, self._since - windows) :]
        self._talking = False
        if self._loudest <= 0 or not spoken:
            return None
        floor = self._loudest * 10 ** (-FLOOR_DB / 10)
        levels = [10 * math.log10(max(power, floor) / self._loudest) for power in spoken]
        return Cadence(-max(levels[-END_WINDOWS:]), _slope(levels[-SLOPE_WINDOWS:]))

    def turn_is_over(self) -> None:
        """What follows is measured by its own loudest part; so is the speech that goes on."""
        spoken = list(self._last)[-self._since :] if self._talking and self._since else []
        self._loudest = max(spoken, default=0.0)


def _slope(levels: list[float]) -> float:
    """Of the line of least squares through the windows' levels, in dB a second."""
    count = len(levels)
    if count < FEWEST_WINDOWS:
        return 0.0
    middle, mean = (count - 1) / 2, sum(levels) / count
    rise = sum((at - middle) * (level - mean) for at, level in enumerate(levels))
    run = sum((at - middle) ** 2 for at in range(count))
    return rise / run * 1_000 / samples_to_ms(WINDOW_SAMPLES)
