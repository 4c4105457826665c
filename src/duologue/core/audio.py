"""Sound as plain data: formats, frames, and the arithmetic between bytes, samples and milliseconds.

Inside the house all speech is 16 kHz mono signed 16-bit little-endian (`STREAM`); a position on the
stream is a count of such samples since the session began, or the same in milliseconds (`Ms`).
"""

from dataclasses import dataclass
from typing import Literal, NewType

Codec = Literal["pcm", "pcmu", "pcma", "opus"]
"""How a dialect packs sound; within the house it is always PCM."""

Ms = NewType("Ms", int)
"""A position on the session's stream clock, in milliseconds since its first sample."""

SAMPLE_BYTES = 2
"""Signed 16-bit."""

WINDOW_SAMPLES = 512
"""One window of speech probability: 32 ms at 16 kHz, the size Silero was trained on."""


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """Mono sound: signed 16-bit little-endian PCM at a rate, however a dialect packs it.

    Attributes:
        rate_hz: samples per second; from 8 000 to 48 000.
        codec: the packing on the way to the client and back.
    """

    rate_hz: int
    codec: Codec = "pcm"

    def __post_init__(self) -> None:
        if not 8_000 <= self.rate_hz <= 48_000:
            raise ValueError(f"rate_hz must be within 8000..48000, got {self.rate_hz}")

    def ms(self, size_bytes: int) -> int:
        """Whole milliseconds that so many bytes last, rounded down."""
        return size_bytes // SAMPLE_BYTES * 1000 // self.rate_hz

    def bytes_for(self, duration_ms: int) -> int:
        """Bytes of a stretch of sound; always whole samples."""
        return duration_ms * self.rate_hz // 1000 * SAMPLE_BYTES


STREAM = AudioFormat(16_000)
WIRE = AudioFormat(24_000)
"""What the OpenAI Realtime protocol carries unless told otherwise."""


@dataclass(frozen=True, slots=True)
class AudioFrame:
    """A stretch of speech in the `STREAM` format.

    Attributes:
        pcm: little-endian samples.
        start: position of the first sample on the session's stream, in samples.
    """

    pcm: bytes
    start: int

    @property
    def end(self) -> int:
        """Position just after the last sample, in samples."""
        return self.start + len(self.pcm) // SAMPLE_BYTES


def samples_to_ms(samples: int) -> Ms:
    """Stream samples to milliseconds, rounded down."""
    return Ms(samples * 1000 // STREAM.rate_hz)


def ms_to_samples(ms: int) -> int:
    """Milliseconds to stream samples."""
    return ms * STREAM.rate_hz // 1000
