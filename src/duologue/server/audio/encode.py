"""Sound as a file that grows: each format is written as it is encoded, to somebody who reads it at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np

from duologue.core.audio import SAMPLE_BYTES, WIRE

RATE_HZ = WIRE.rate_hz
"""OpenAI's, in every format; `pcm` has no header that could say another."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A format, as FFmpeg knows it.

    Attributes:
        options: of the codec; `container_options` of what is around it. What would have to be written into a
            file's beginning at its end is left out.
    """

    media_type: str
    container: str = ""
    codec: str = ""
    samples: str = "s16"
    options: Mapping[str, str] = field(default_factory=dict)
    container_options: Mapping[str, str] = field(default_factory=dict)


KINDS: Mapping[str, Kind] = {
    "mp3": Kind(
        "audio/mpeg",
        "mp3",
        "libmp3lame",
        "s16p",
        {"b": "96000"},
        {"write_xing": "0", "id3v2_version": "0"},
    ),
    "opus": Kind(
        "audio/ogg",
        "ogg",
        "libopus",
        "s16",
        {"b": "64000"},
        {"page_duration": "100000"},  # microseconds; FFmpeg's page is a second long
    ),
    "aac": Kind(
        "audio/aac",
        "adts",
        "aac",
        "fltp",
        {"b": "96000", "cutoff": "12000", "aac_coder": "fast"},  # half the work of the default
    ),
    "flac": Kind("audio/flac", "flac", "flac"),
    "wav": Kind("audio/wav", "wav", "pcm_s16le", "s16", {}, {"fflags": "+bitexact"}),
    "pcm": Kind("audio/pcm"),
}
"""Bit rates at which 24 kHz speech has no flaw that is heard, up to 12 kHz. Each costs below 1 % of a core for a
second of sound a second. The sizes in a WAV's header are 0xFFFFFFFF: nobody knows them yet."""


class Encoder(Protocol):
    """Sound in, pieces of a file out. Its calls take milliseconds: for worker threads, one at a time."""

    def push(self, pcm: bytes, rate_hz: int) -> bytes:
        """More sound at this rate; what of the file is ready, which may be nothing yet."""

    def finish(self) -> bytes:
        """The file's end."""


def encoder(name: str) -> Encoder:
    """For one of `KINDS`."""
    kind = KINDS[name]
    return _FileEncoder(kind) if kind.codec else _PcmEncoder()


class _Resampler:
    """Sound of an engine's rate to `RATE_HZ`; another engine's rate starts afresh."""

    def __init__(self) -> None:
        self._from_hz = RATE_HZ
        self._stream: Any = None

    def push(self, pcm: bytes, rate_hz: int) -> bytes:
        out = b""
        if rate_hz != self._from_hz:
            out, self._from_hz = self.finish(), rate_hz
        if rate_hz == RATE_HZ:
            return out + pcm
        if self._stream is None:
            import soxr

            self._stream = soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="int16", quality="HQ")
        return out + self._run(pcm, is_last=False)

    def finish(self) -> bytes:
        if self._stream is None:
            return b""
        rest = self._run(b"", is_last=True)
        self._stream = None
        return rest

    def _run(self, pcm: bytes, *, is_last: bool) -> bytes:
        sound = self._stream.resample_chunk(np.frombuffer(pcm, np.int16), last=is_last)
        return cast(bytes, sound.tobytes())


class _PcmEncoder:
    """No header at all."""

    def __init__(self) -> None:
        self._resampler = _Resampler()

    def push(self, pcm: bytes, rate_hz: int) -> bytes:
        return self._resampler.push(pcm, rate_hz)

    def finish(self) -> bytes:
        return self._resampler.finish()


class _Sink:
    """A file that can only be written on: what FFmpeg has written since the last look."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


class _FileEncoder:
    """By FFmpeg."""

    def __init__(self, kind: Kind) -> None:
        import av

        self._resampler = _Resampler()
        self._sink = _Sink()
        self._container = av.open(
            self._sink, "w", format=kind.container, options=dict(kind.container_options)
        )
        self._track = self._container.add_stream(
            kind.codec, rate=RATE_HZ, options=dict(kind.options)
        )
        context = cast(Any, self._track.codec_context)
        context.layout, context.format, context.thread_count = "mono", kind.samples, 1
        self._samples = 0

    def push(self, pcm: bytes, rate_hz: int) -> bytes:
        self._encode(self._resampler.push(pcm, rate_hz))
        return self._sink.take()

    def finish(self) -> bytes:
        self._encode(self._resampler.finish())
        self._container.mux(cast(Any, self._track).encode(None))
        self._container.close()
        return self._sink.take()

    def _encode(self, pcm: bytes) -> None:
        import av

        if len(pcm) < SAMPLE_BYTES:
            return
        sound = np.frombuffer(pcm, np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(sound, format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE_HZ, self._samples
        self._samples += sound.shape[1]
        self._container.mux(cast(Any, self._track).encode(frame))
