"""Sound as servers send it: raw or WAV samples, read while they come. `core.wav` has the layout; chunks are padded to
an even count. Servers that stream cannot
know the sizes, and write 0 or 0xFFFFFFFF.
"""

import struct
from typing import Any

import numpy as np

from duologue.core.audio import SAMPLE_BYTES

_PCM, _EXTENSIBLE = 1, 0xFFFE
_UNKNOWN_SIZES = (0, 0xFFFF_FFFF, 0xFFFF_FFFF - 36, 0x7FFF_FFFF)
"""The third is what is left of the second after a header of 36 bytes."""

MAX_HEADER_BYTES = 64 * 1024
"""Before the first sample; some writers put the name of the song there."""


class NotSound(ValueError):
    """What came cannot be played."""


class SoundReader:
    """Bytes in any pieces -> mono 16-bit samples at a rate.

    Args:
        rate_hz: wanted; raw samples are taken to have it.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._held = b""
        self._is_known = False
        self._left: int | None = None  # bytes of a WAV's samples that are still to come
        self._resampler: Any = None

    def push(self, data: bytes) -> bytes:
        """More bytes; returns the samples that they complete.

        Raises:
            NotSound: it is WAV, but not mono 16-bit, or never comes to its samples.
        """
        self._held += data
        if not self._is_known and not self._begin():
            return b""
        size = len(self._held) if self._left is None else min(len(self._held), self._left)
        size -= size % SAMPLE_BYTES
        pcm, self._held = self._held[:size], self._held[size:]
        if self._left is not None:
            self._left -= size
            if self._left < SAMPLE_BYTES:
                self._held = b""  # other chunks may follow the samples
        return self._resampled(pcm, is_last=False)

    def finish(self) -> bytes:
        """There is no more: what is left of it."""
        pcm = b""
        if not self._is_known and not self._held.startswith(b"RIFF"):
            pcm = self._held[: len(self._held) // SAMPLE_BYTES * SAMPLE_BYTES]
        return self._resampled(pcm, is_last=True)

    def _begin(self) -> bool:
        """Look what it is; False if that takes more bytes."""
        held = self._held
        if len(held) < 4:
            return False
        if held[:4] != b"RIFF":
            self._is_known = True
            return True
        at, form = 12, b""
        while len(held) >= at + 8:
            name, size = struct.unpack_from("<4sI", held, at)
            at += 8
            if name == b"data":
                self._check(form)
                self._left = None if size in _UNKNOWN_SIZES else size
                self._held, self._is_known = held[at:], True
                return True
            if name == b"fmt ":
                form = held[at : at + size]
            at += size + size % 2
        if at > MAX_HEADER_BYTES:
            raise NotSound("a WAV file without samples")
        return False

    def _check(self, form: bytes) -> None:
        if len(form) < 16:
            raise NotSound("a WAV file that does not say what its samples are")
        kind, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", form)
        if kind == _EXTENSIBLE and len(form) >= 26:
            (kind,) = struct.unpack_from("<H", form, 24)
        if (kind, channels, bits) != (_PCM, 1, 16):
            raise NotSound(f"a WAV file of kind {kind}, {channels} channels, {bits} bits")
        if not 4_000 <= rate_hz <= 192_000:
            raise NotSound(f"a WAV file of {rate_hz} Hz")
        if rate_hz != self._rate_hz:
            import soxr

            self._resampler = soxr.ResampleStream(rate_hz, self._rate_hz, 1, dtype="int16")

    def _resampled(self, pcm: bytes, *, is_last: bool) -> bytes:
        if self._resampler is None:
            return pcm
        sound = self._resampler.resample_chunk(np.frombuffer(pcm, "<i2"), last=is_last)
        converted: bytes = sound.astype("<i2").tobytes()
        return converted
