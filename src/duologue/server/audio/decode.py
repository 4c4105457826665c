"""A file of any container and codec that FFmpeg reads -> 16 kHz mono, a block at a time. For worker threads.

What is decoded came from a stranger: a file can be a playlist that names other files, so FFmpeg may open nothing
beside the bytes that it is given (`protocol_whitelist`).
"""

from collections.abc import Iterator
from typing import Any, BinaryIO

from duologue.core.audio import SAMPLE_BYTES, STREAM, ms_to_samples, samples_to_ms
from duologue.server.audio.refusals import Refusal, wrong

MAX_AUDIO_S = 2 * 3600
"""Longest sound of one file. 25 MB hold 52 minutes of MP3 at 64 kbit/s, or 2 hours at 28; compressed silence may
claim to be days."""

SHORTEST_MS = 100
"""As OpenAI has it: no word is shorter."""

RATES_HZ = (4_000, 768_000)
"""Of the file; outside of them no sound is recorded, and a file at 1 Hz would be blown up sixteen thousand times."""

OPTIONS = {"protocol_whitelist": "none"}
"""There is no protocol of that name."""


class Decoder:
    """One file.

    Raises:
        Refusal: there is no sound in it, or too much.
    """

    def __init__(self, file: BinaryIO) -> None:
        import av

        self._errors: tuple[type[Exception], ...] = (av.error.FFmpegError, ValueError)
        self._good = self._bad = 0  # packets
        self._kind: tuple[str, str, int] | None = None
        self._resampler: Any = None
        self.samples = 0  # read so far, at 16 kHz
        try:
            self._container: Any = av.open(
                file, "r", metadata_errors="replace", options=dict(OPTIONS)
            )
        except self._errors as error:
            raise _unreadable(error) from error
        try:
            self._pieces = self._decode(self._first_track())
        except Refusal:
            self._container.close()
            raise

    def read(self, ms: int) -> bytes:
        """About so much more sound; nothing at the end of the file.

        Raises:
            Refusal: it is broken, empty, too short or too long.
        """
        out = bytearray()
        wanted = ms_to_samples(ms) * SAMPLE_BYTES
        for piece in self._pieces:
            out += piece
            if len(out) >= wanted:
                break
        self.samples += len(out) // SAMPLE_BYTES
        if self.samples > MAX_AUDIO_S * STREAM.rate_hz:
            raise _too_long()
        if not out:
            self._check_end()
        return bytes(out)

    def close(self) -> None:
        """Give the file back."""
        self._container.close()

    @property
    def duration_ms(self) -> int:
        """Of what was read."""
        return samples_to_ms(self.samples)

    def _first_track(self) -> Any:
        tracks = self._container.streams.audio
        if not tracks:
            raise wrong("audio_missing", "There is no sound in this file.", "file")
        seconds = (self._container.duration or 0) / 1_000_000
        if seconds > MAX_AUDIO_S:
            raise _too_long()
        tracks[0].codec_context.thread_count = 1
        return tracks[0]

    def _decode(self, track: Any) -> Iterator[bytes]:
        """A broken packet is left out, as players do; how many there were is judged at the end."""
        packets = self._container.demux(track)
        while True:
            try:
                packet = next(packets, None)
            except self._errors:  # the file breaks off
                self._bad += 1
                packet = None
            if packet is None:
                break
            try:
                frames = packet.decode()
            except self._errors:
                self._bad += 1
                continue
            for frame in frames:
                self._good += 1
                yield from self._resampled(frame)
        yield from self._drained()

    def _resampled(self, frame: Any) -> Iterator[bytes]:
        import av

        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:
            yield from self._drained()
            if not RATES_HZ[0] <= frame.sample_rate <= RATES_HZ[1]:
                message = f"A sample rate of {frame.sample_rate} Hz is not decoded."
                raise wrong("audio_rate_not_supported", message, "file")
            self._kind = kind
            self._resampler = av.AudioResampler("s16", "mono", STREAM.rate_hz)
        frame.pts = None  # gaps in a file's clock are not filled
        yield from self._pcm(frame)

    def _drained(self) -> Iterator[bytes]:
        if self._resampler is not None:
            yield from self._pcm(None)
            self._resampler = None

    def _pcm(self, frame: Any) -> Iterator[bytes]:
        try:
            parts = self._resampler.resample(frame)
        except self._errors as error:
            raise _unreadable(error) from error
        for part in parts:
            yield bytes(part.planes[0])[: part.samples * SAMPLE_BYTES]

    def _check_end(self) -> None:
        if self._bad > self._good:
            message = f"The file is broken: {self._bad} of its parts cannot be decoded."
            raise wrong("audio_corrupt", message, "file")
        if not self.samples:
            raise wrong("audio_empty", "There is no sound in this file: it has no samples.", "file")
        if self.duration_ms < SHORTEST_MS:
            message = (
                f"The sound is {self.duration_ms} ms long, and must be at least {SHORTEST_MS}."
            )
            raise wrong("audio_too_short", message, "file")


def _unreadable(error: Exception) -> Refusal:
    """FFmpeg's reason, without the name that it gives to bytes."""
    reason = getattr(error, "strerror", None) or "its format is not known"
    return wrong("audio_not_readable", f"This is no sound that can be decoded: {reason}.", "file")


def _too_long() -> Refusal:
    message = f"The sound is longer than {MAX_AUDIO_S // 3600} hours. Send it in parts."
    return wrong("audio_too_long", message, "file")
