"""Where sound that flows may be cut: its level over time, and the pauses in it.

What is quiet is judged by the session's own levels: between the quietest of the last half minute and its loudest.
A pause is a place between words even if no recogniser was asked; so a window that ends in one cuts no word.
"""

import numpy as np
from numpy.typing import NDArray

from duologue.core.audio import SAMPLE_BYTES

STEP_SAMPLES = 160
"""Levels are taken of 10 ms each."""

STEP_BYTES = STEP_SAMPLES * SAMPLE_BYTES

PAUSE_STEPS = 16
"""160 ms of quiet are a pause; the closures of plosives are shorter (some 50 to 120 ms)."""

LEAD_STEPS = 20
"""Quiet that is left to the window after a long pause, 200 ms: first consonants may be as quiet as the room."""

MEMORY_STEPS = 3_000
"""The quietest of 30 s is the room."""

QUIET_SHARE = 0.25
"""Quiet reaches so far up from the room to the loudest, in decibels."""

LEAST_RANGE_DB = 12.0
"""Where the loudest is less than this above the room, quiet and sound cannot be told apart."""

LOUD_DB = 6.0
"""Sound is at least so much louder than the room."""

FADE_DB = 0.005
"""What the loudest loses each step: 0.5 dB a second, for people move and stop talking."""

NOTHING_DB = 6.0
"""Twice the smallest step of a sample: nobody's speech."""

FIRST_STEPS = 500
"""Until so much was heard, the quietest may still be somebody who speaks without a pause."""

Levels = NDArray[np.float32]


class Room:
    """The levels of one session, in decibels above one step of a sample. Bounded by `MEMORY_STEPS`."""

    __slots__ = ("_count", "_floor", "_memory", "_peak", "_stale")

    def __init__(self) -> None:
        self._memory: Levels = np.zeros(MEMORY_STEPS, np.float32)
        self._count = 0
        self._peak = 0.0
        self._floor = 0.0
        self._stale = 0

    def levels(self, pcm: bytes | bytearray | memoryview) -> Levels:
        """Measure whole steps of sound, one at least; the session remembers them."""
        sound = np.frombuffer(pcm, "<i2").astype(np.float32).reshape(-1, STEP_SAMPLES)
        power = np.einsum("ij,ij->i", sound, sound) / STEP_SAMPLES
        found: Levels = (10 * np.log10(power + 1)).astype(np.float32)
        size = len(found)
        at = (self._count + np.arange(size)) % MEMORY_STEPS
        self._memory[at[-MEMORY_STEPS:]] = found[-MEMORY_STEPS:]
        self._count += size
        self._stale += size
        faded = found - FADE_DB * np.arange(size - 1, -1, -1, dtype=np.float32)
        self._peak = max(self._peak - FADE_DB * size, float(faded.max()))
        return found

    @property
    def quiet_db(self) -> float:
        """What is below is quiet."""
        floor = self._room_db()
        span = self._peak - floor
        if span < LEAST_RANGE_DB:
            return NOTHING_DB
        return max(NOTHING_DB, floor + QUIET_SHARE * span)

    @property
    def loud_db(self) -> float:
        """What is above is some sound in the room. Where the room itself is not known yet, whatever is no silence."""
        floor = self._room_db()
        if self._count < FIRST_STEPS and self._peak - floor < LEAST_RANGE_DB:
            return NOTHING_DB
        return max(NOTHING_DB, floor + LOUD_DB, self.quiet_db)

    def _room_db(self) -> float:
        if self._stale >= 10 or self._stale == self._count:
            known = self._memory[: max(1, self._count)]
            self._floor = float(np.partition(known, len(known) // 10)[len(known) // 10])
            self._stale = 0
        return self._floor


class Passage:
    """Sound without a gap. What is dealt with is dropped from its beginning.

    Attributes:
        start: position of the first sample held; `end` of the one after the last.
        is_closed: nothing is added any more.
        ends: an utterance ends with it.
    """

    __slots__ = ("_levels", "_room", "_sound", "ends", "is_closed", "start")

    def __init__(self, room: Room, start: int) -> None:
        self._room = room
        self._sound = bytearray()
        self._levels: Levels = np.zeros(0, np.float32)
        self.start = start
        self.is_closed = False
        self.ends = False

    @property
    def end(self) -> int:
        """Position after the last sample."""
        return self.start + len(self._sound) // SAMPLE_BYTES

    @property
    def size_bytes(self) -> int:
        """Sound held."""
        return len(self._sound)

    def add(self, pcm: bytes) -> None:
        """More of it; whole samples."""
        self._sound += pcm

    def sound(self, end: int) -> bytes:
        """From its beginning up to there."""
        return bytes(self._sound[: (end - self.start) * SAMPLE_BYTES])

    def drop(self, upto: int) -> None:
        """Let go of what lies before, in whole steps."""
        steps = max(0, upto - self.start) // STEP_SAMPLES
        self._measure()
        del self._sound[: steps * STEP_BYTES]
        self._levels = self._levels[steps:].copy()
        self.start += steps * STEP_SAMPLES

    def pause(self, since: int, until: int) -> int | None:
        """A place in the last pause between two positions that no word is near to; None if there is no pause.

        In the middle of a short pause; in a long one closer to its end, so that little silence is heard twice.
        """
        quiet = self._measure()[: (until - self.start) // STEP_SAMPLES] < self._room.quiet_db
        turns = np.flatnonzero(np.diff(quiet, prepend=False, append=False))
        for first, after in reversed(turns.reshape(-1, 2).tolist()):
            cut = max((first + after) // 2, after - LEAD_STEPS)
            if after - first >= PAUSE_STEPS and self.start + cut * STEP_SAMPLES > since:
                return self.start + cut * STEP_SAMPLES
        return None

    def onset(self) -> int | None:
        """Where sound begins in it that is louder than the room."""
        loud = np.flatnonzero(self._measure() > self._room.loud_db)
        return self.start + int(loud[0]) * STEP_SAMPLES if len(loud) else None

    def is_quiet(self) -> bool:
        """There is nothing but quiet in it."""
        return not (self._measure() > self._room.quiet_db).any()

    def loud_part(self, until: int) -> tuple[int, int]:
        """From where to where there is sound in it up to a position; all of it if that cannot be told."""
        levels = self._measure()[: max(0, until - self.start) // STEP_SAMPLES]
        loud = np.flatnonzero(levels > self._room.quiet_db)
        if not len(loud):
            return self.start, until
        first, last = int(loud[0]), int(loud[-1])
        return self.start + first * STEP_SAMPLES, self.start + (last + 1) * STEP_SAMPLES

    def _measure(self) -> Levels:
        """The levels of all whole steps."""
        done = len(self._levels)
        steps = len(self._sound) // STEP_BYTES
        if steps > done:
            fresh = bytes(self._sound[done * STEP_BYTES : steps * STEP_BYTES])
            self._levels = np.concatenate((self._levels, self._room.levels(fresh)))
        return self._levels
