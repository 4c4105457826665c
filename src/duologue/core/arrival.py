"""Does the sound arrive at the pace it claims to have?

A microphone that runs at 8 or 16 kHz but is declared as 24 kHz delivers a third or two thirds of the
sound that real time asks for, evenly. Nobody understands what is then heard, and no error would ever
say why; so the pace is watched, and one that fits such a mistake is reported once. Sound
that comes faster than real time is no mistake but a recording, and welcome.
"""

from dataclasses import dataclass

WATCH_MS = 4_000
"""Steady arrival for this long before anything is said."""

GAP_MS = 300
"""A longer silence on the line starts the watch anew: the client pauses, or sends a file."""

TOLERANCE = 0.04
"""Clocks of sound cards differ by far less; rates that people confuse differ by far more."""

CONFUSED_RATES_HZ = (8_000, 16_000, 24_000)
"""Rates that people confuse and that can be declared: each far enough from the others that a client whose
loop is merely slow (22 ms for every 20 is common) has none of them."""


@dataclass(slots=True)
class ArrivalWatch:
    """Watches one input. Times are wall milliseconds.

    Attributes:
        declared_hz: the rate that the client says it sends.
    """

    declared_hz: int
    _since_ms: float = -1.0
    _last_ms: float = 0.0
    _sound_ms: float = 0.0
    _told: bool = False

    def arrived(self, sound_ms: float, now_ms: float) -> int | None:
        """So much sound came. Returns the rate that it seems to have, if not the declared one, once."""
        if self._told:
            return None
        if self._since_ms < 0 or now_ms - self._last_ms > GAP_MS:
            self._since_ms, self._sound_ms = now_ms, -sound_ms
        self._last_ms = now_ms
        self._sound_ms += sound_ms
        elapsed = now_ms - self._since_ms
        if elapsed < WATCH_MS:
            return None
        pace = self._sound_ms / elapsed
        self._since_ms, self._sound_ms = now_ms, 0.0
        return self._verdict(pace)

    def _verdict(self, pace: float) -> int | None:
        real_hz = pace * self.declared_hz
        for rate_hz in CONFUSED_RATES_HZ:
            if rate_hz < self.declared_hz and abs(real_hz / rate_hz - 1) <= TOLERANCE:
                self._told = True
                return rate_hz
        return None
