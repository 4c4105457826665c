"""What a session knows of its own voice: what the listener is reckoned to hear, for the ears to tell from the user.

The mouth reports each frame with its place on the input's stream clock; the ears ask about each window while one
of ours may be in it, and about none otherwise. Sound is brought to 16 kHz when somebody first looks at it: for a
listener in whose microphone nothing ever comes back that is only while they speak over us.
"""

from collections import deque
from collections.abc import Callable

import numpy as np
import soxr
from numpy.typing import NDArray

from duologue.core.audio import STREAM, WINDOW_SAMPLES, ms_to_samples
from duologue.core.echo import EARLIEST_DELAY, HISTORY, TAIL, EchoControl
from duologue.core.echo_played import SIZE, Played
from duologue.core.options import Echo as Mode

HALF_DUPLEX_TAIL_MS = 200
"""A loudspeaker's room, and a network's way there and back at home."""

MAX_FRAMES = 256
"""Frames of 20 ms that nobody has looked at, five seconds; of older ones nothing can come back any more."""

LOUD = 2_000
"""Peak of a frame that is not one of an answer's pauses: a tenth of usual speech's."""

_STRAY = ms_to_samples(1_000)
"""A place so far from where the last frame ended is believed; what differs less is the network's unevenness."""

_AHEAD = SIZE - HISTORY
"""What is to be heard later than this is not kept: nobody paces that listener."""


class Echo:
    """Our voice on one session's input.

    Attributes:
        position: of the input's stream, in samples, at a wall time in ms; the ears provide it.
    """

    def __init__(self) -> None:
        self.position: Callable[[float], int] = lambda now_ms: 0
        self._mode: Mode = "auto"
        self._played = Played()
        self._control = EchoControl(self._read)
        self._frames: deque[tuple[int, bytes, int, bool]] = deque(maxlen=MAX_FRAMES)
        self._resampler: soxr.ResampleStream | None = None
        self._write_at = 0
        self._first = self._end = -2 * TAIL  # of the stretch that may be heard: long ago
        self._recent: deque[tuple[bytes, int]] = deque(maxlen=MAX_FRAMES)
        self._is_still = False
        self._until = 0  # where the last of what was sent is reckoned to be heard

    @property
    def has_found(self) -> bool:
        """This listener's microphone gives our voice back."""
        return self._control.has_found

    @property
    def is_in_doubt(self) -> bool:
        """The window last asked about may be our own voice or somebody's: nobody knows yet."""
        return self._mode == "auto" and self._control.is_in_doubt

    def set_mode(self, mode: Mode) -> None:
        """Behave so from here on."""
        self._mode = mode

    # --- the mouth's side ---
    def sent(self, pcm: bytes, rate_hz: int, lead_ms: float, now_ms: float) -> None:
        """A frame went out to a listener who has so much in hand before it."""
        heard_ms = lead_ms + _ms(pcm, rate_hz)
        now = self.position(now_ms)
        self._until = now + int(heard_ms * STREAM.rate_hz / 1000)
        if self._mode == "off":
            return
        self._recent.append((pcm, rate_hz))
        self._place(pcm, rate_hz, lead_ms, now)

    def stands_still(self, now_ms: float) -> None:
        """The listener has stopped playing; what they have in hand stays in hand."""
        if self._is_still:
            return
        self._is_still = True
        now = self.position(now_ms)
        self._catch_up()
        self._played.cut(now)
        self._end = min(self._end, now)

    def goes_on(self, unheard_ms: float, now_ms: float) -> None:
        """The listener plays again, and first what they have in hand."""
        if not self._is_still:
            return
        self._is_still = False
        again, missing_ms = [], unheard_ms
        for pcm, rate_hz in reversed(self._recent):
            if missing_ms <= 0:
                break
            again.append((pcm, rate_hz))
            missing_ms -= _ms(pcm, rate_hz)
        lead_ms, now = 0.0, self.position(now_ms)
        for pcm, rate_hz in reversed(again):
            self._place(pcm, rate_hz, lead_ms, now)
            lead_ms += _ms(pcm, rate_hz)

    # --- the ears' side ---
    def may_hold(self, start: int) -> bool:
        """Can our voice be in the window that begins there?"""
        if start + WINDOW_SAMPLES < self._first + EARLIEST_DELAY or self._mode == "off":
            return False
        tail = TAIL if self._mode == "auto" else ms_to_samples(HALF_DUPLEX_TAIL_MS)
        return start < self._end + tail

    def is_heard(self, start: int) -> bool:
        """Does the listener hear us in the window that begins there, as far as we know?"""
        return start < self._until

    def clean(self, start: int, pcm: bytes) -> bytes:
        """The window as the recogniser is to have it."""
        if self._mode == "half_duplex":
            return bytes(len(pcm))
        return self._control.clean(start, pcm)

    def explains(self, probability: float, floor: float) -> bool:
        """Is the window last cleaned nothing but our own voice? Asked once."""
        return self._mode == "half_duplex" or self._control.explains(probability, floor)

    # --- how ---
    def _place(self, pcm: bytes, rate_hz: int, lead_ms: float, now: int) -> None:
        at = now + int(lead_ms * STREAM.rate_hz / 1000)
        is_new = lead_ms <= 0 or abs(at - self._end) > _STRAY
        if not is_new:
            at = self._end
        if at - now > _AHEAD:
            return
        if is_new:
            self._control.begin_stretch()
            if now > self._end + TAIL:
                self._first = at
        self._end = at + len(pcm) // 2 * STREAM.rate_hz // rate_hz
        if np.frombuffer(pcm, np.int16).max(initial=0) > LOUD:
            self._control.played_aloud(self._end)
        self._frames.append((at, pcm, rate_hz, is_new))

    def _read(self, first: int, end: int) -> NDArray[np.float32]:
        self._catch_up()
        return self._played.read(first, end)

    def _catch_up(self) -> None:
        """Bring what was sent to 16 kHz."""
        expected = None
        while self._frames:
            at, pcm, rate_hz, is_new = self._frames.popleft()
            if is_new or expected not in (None, at):
                self._write_at, self._resampler = at, _resampler(rate_hz)
            sound = np.frombuffer(pcm, np.int16)
            expected = at + len(sound) * STREAM.rate_hz // rate_hz
            if self._resampler is not None:
                sound = self._resampler.resample_chunk(sound)
            self._played.write(self._write_at, sound)
            self._write_at += len(sound)


def _resampler(rate_hz: int) -> soxr.ResampleStream | None:
    if rate_hz == STREAM.rate_hz:
        return None
    return soxr.ResampleStream(rate_hz, STREAM.rate_hz, 1, dtype="int16", quality="LQ")


def _ms(pcm: bytes, rate_hz: int) -> float:
    return len(pcm) * 500 / rate_hz
