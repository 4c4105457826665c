"""Sound in binary messages that say which sound it is: the frames of `duologue.v1` (docs/extension.md).

 0      1      2             4                           8                                    16
+------+------+-------------+---------------------------+------------------------------------+--------
| kind | flags|  reserved   | sequence                  | position                           | sound …
+------+------+-------------+---------------------------+------------------------------------+--------
"""

import struct
from dataclasses import dataclass

from duologue.core.audio import SAMPLE_BYTES, AudioFormat
from duologue.core.errors import MalformedEvent
from duologue.wire.dialect import Binary

HEADER = struct.Struct(">BBHIQ")
SOUND = 1
"""The one kind of frame."""

FIRST, LAST, DISCONTINUITY = 1, 2, 4

MAX_SOUND_BYTES = 15 * 1024 * 1024
"""As in one append."""

_SEQUENCES = 1 << 32
_OPUS_MS = ((10, 20, 40, 60),) * 3 + ((10, 20, 10, 20),) + ((2.5, 5, 10, 20),) * 4


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame.

    Attributes:
        flags: a sum of FIRST, LAST, DISCONTINUITY; others mean nothing yet.
        sequence: counts the frames of one direction, modulo 2**32.
        position: samples before this one, at the format's rate.
        sound: in the negotiated format; may be empty.
    """

    flags: int
    sequence: int
    position: int
    sound: bytes

    def pack(self) -> Binary:
        """As it goes out."""
        head = HEADER.pack(SOUND, self.flags, 0, self.sequence % _SEQUENCES, self.position)
        return Binary(head + self.sound)


def unpack(data: bytes) -> Frame:
    """Read a frame.

    Raises:
        MalformedEvent: it is none.
    """
    if len(data) < HEADER.size:
        raise _wrong(f"{len(data)} bytes are no frame: its header alone has {HEADER.size}.")
    kind, flags, _, sequence, position = HEADER.unpack_from(data)
    if kind != SOUND:
        raise _wrong(f"There are no frames of kind {kind}.")
    if len(data) - HEADER.size > MAX_SOUND_BYTES:
        raise _wrong(f"A frame carries at most {MAX_SOUND_BYTES} bytes of sound.")
    return Frame(flags, sequence, position, data[HEADER.size :])


def with_gap(data: bytes) -> Binary:
    """A packed frame, marked: what came before it is missing."""
    return Binary(bytes((data[0], data[1] | DISCONTINUITY)) + data[2:])


def samples_in(sound: bytes, fmt: AudioFormat) -> int:
    """How long a frame's sound is, in samples at the format's rate; of an Opus packet, as its first bytes say."""
    if fmt.codec == "pcm":
        return len(sound) // SAMPLE_BYTES
    if fmt.codec != "opus":
        return len(sound)
    if not sound:
        return 0
    config, code = sound[0] >> 3, sound[0] & 3  # RFC 6716, section 3.1
    each_ms = _OPUS_MS[config // 4][config % 4]
    count = (1, 2, 2, sound[1] & 63 if len(sound) > 1 else 0)[code]
    return int(each_ms * count * fmt.rate_hz / 1000)


class InputOrder:
    """Puts a client's frames where they belong on its own stream of sound.

    Attributes:
        received: the sequence that is expected next: one more than the highest that came.
        lost: frames that never came.
        late: frames that came twice, or after a later one; they are dropped.
    """

    def __init__(self) -> None:
        self.received = 0
        self.lost = 0
        self.late = 0
        self._end: int | None = None  # the position after the last sample

    def take(self, frame: Frame, samples: int) -> int | None:
        """Samples that are missing before this frame; None if it is to be dropped.

        Raises:
            MalformedEvent: it does not continue where the last one ended, and does not say so.
        """
        skipped, is_first = 0, self._end is None
        if not is_first:
            skipped = (frame.sequence - self.received) % _SEQUENCES
            if skipped >= _SEQUENCES // 2:
                self.late += 1
                return None
            self.lost += skipped
        expected = frame.position if self._end is None else self._end
        self.received = (frame.sequence + 1) % _SEQUENCES
        self._end = frame.position + samples
        if is_first or frame.flags & FIRST:
            return 0
        gap = frame.position - expected
        if gap and not (skipped or frame.flags & DISCONTINUITY):
            raise _wrong(
                f"The frame {frame.sequence} is at position {frame.position}, but sound was sent up to {expected}.",
                "position_mismatch",
                "Positions count samples, not bytes; set the flag 4 (discontinuity) where some are left out.",
            )
        return max(0, gap)


def _wrong(message: str, code: str = "invalid_frame", remedy: str = "") -> MalformedEvent:
    return MalformedEvent(code, message, remedy=remedy)
