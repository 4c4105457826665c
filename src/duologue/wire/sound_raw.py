"""Raw samples -> 16 kHz mono: what a session is sent without any container, and WAV files, whole or in pieces."""

import struct
from typing import Any

import numpy as np

from duologue.core.audio import STREAM
from duologue.wire.sound_packets import NotDecodable

RATES_HZ = (8_000, 48_000)

WAV_RATES_HZ = (4_000, 192_000)

MAX_WAV_CHANNELS = 8

MAX_WAV_HEADER_BYTES = 1 << 16
"""Players keep notes in it; FFmpeg's has 78 bytes."""

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_TYPES = {(_PCM, 16): "<i2", (_PCM, 32): "<i4", (_FLOAT, 32): "<f4"}
_UNKNOWN_SIZES = (0, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFF - 36, 0xFFFFFFFF - 36)
"""What those write who do not know yet how long it becomes."""


class Resampler:
    """A stream of 16-bit samples at any rate; at 16 kHz they stay as they are.

    soxr at its quality "HQ" holds back 66 ms of sound at 8 kHz and 21 ms at 24 and 48 kHz, and gives it when drained.
    """

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._stream: Any = None

    def push(self, pcm: bytes) -> bytes:
        """The samples that are complete."""
        if self.rate_hz == STREAM.rate_hz:
            return pcm
        if self._stream is None:
            import soxr

            self._stream = soxr.ResampleStream(
                self.rate_hz, STREAM.rate_hz, 1, dtype="int16", quality="HQ"
            )
        return self._taken(pcm, is_last=False)

    def drain(self) -> bytes:
        """What it holds back; the stream may begin anew."""
        if self._stream is None:
            return b""
        pcm = self._taken(b"", is_last=True)
        self._stream = None
        return pcm

    def _taken(self, pcm: bytes, *, is_last: bool) -> bytes:
        samples = self._stream.resample_chunk(np.frombuffer(pcm, "<i2"), last=is_last)
        taken: bytes = samples.astype("<i2").tobytes()
        return taken


class WavReader:
    """A WAV file in pieces of any size, as samples. Its header may say that nobody knows how long it is."""

    def __init__(self) -> None:
        self._kept = b""  # of the header, then of a sample
        self._type = ""
        self._channels = 1
        self._left: int | None = None  # of the sound; None: not known
        self._resampler: Resampler | None = None

    @property
    def is_over(self) -> bool:
        """All that the header promised has come."""
        return self._left == 0 and self._resampler is not None

    def gap(self) -> None:
        """Pieces are missing here: taken to be whole samples."""
        if self._resampler is not None:
            self._kept = b""

    def feed(self, data: bytes) -> bytes:
        """The samples that are complete with these bytes.

        Raises:
            NotDecodable: it is no WAV file, or none of plain samples.
        """
        self._kept += data
        if self._resampler is None and not self._begin():
            return b""
        assert self._resampler is not None
        step = np.dtype(self._type).itemsize * self._channels
        there = len(self._kept) if self._left is None else min(self._left, len(self._kept))
        whole = there - there % step
        sound, self._kept = self._kept[:whole], self._kept[whole:]
        if self._left is not None:
            self._left -= whole
            if self._left < step:  # what follows the sound is not sound
                self._left, self._kept = 0, b""
        return self._resampler.push(self._as_samples(sound))

    def drain(self) -> bytes:
        """What the resampler holds back."""
        return b"" if self._resampler is None else self._resampler.drain()

    def _as_samples(self, sound: bytes) -> bytes:
        if self._type == "<i2" and self._channels == 1:
            return sound
        samples = np.frombuffer(sound, self._type).astype(np.float32)
        samples = samples.reshape(-1, self._channels).mean(axis=1, dtype=np.float32)
        scale = {"<i2": 1.0, "<i4": 2.0**-16, "<f4": 32_768.0}[self._type]
        samples = np.nan_to_num(samples) * np.float32(scale)
        scaled: bytes = np.clip(samples, -32_768, 32_767).astype("<i2").tobytes()
        return scaled

    def _begin(self) -> bool:
        if len(self._kept) >= 12 and self._kept[8:12] != b"WAVE":
            raise NotDecodable("it is no WAV file")
        at, form = 12, b""
        while len(self._kept) >= at + 8:
            name, size = struct.unpack_from("<4sI", self._kept, at)
            at += 8
            if name == b"data":
                self._resampler = Resampler(self._understood(form))
                self._left = None if size in _UNKNOWN_SIZES else size
                self._kept = self._kept[at:]
                return True
            if name == b"fmt ":
                form = self._kept[at : at + size]
            at += size + size % 2
        if at > MAX_WAV_HEADER_BYTES:
            raise NotDecodable("it is a WAV file without samples")
        return False

    def _understood(self, form: bytes) -> int:
        """Read what the samples are; returns their rate in Hz."""
        if len(form) < 16:
            raise NotDecodable("it is a WAV file that does not say what its samples are")
        kind, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", form)
        if kind == _EXTENSIBLE and len(form) >= 26:
            (kind,) = struct.unpack_from("<H", form, 24)
        if (kind, bits) not in _TYPES or not 1 <= channels <= MAX_WAV_CHANNELS:
            raise NotDecodable(
                f"it is a WAV file of kind {kind}, {channels} channels and {bits} bits"
            )
        if not WAV_RATES_HZ[0] <= rate_hz <= WAV_RATES_HZ[1]:
            raise NotDecodable(f"a sample rate of {rate_hz} Hz is not decoded")
        self._type, self._channels = _TYPES[kind, bits], channels
        return int(rate_hz)
