"""Encoded sound -> 16 kHz mono, by FFmpeg's decoders as they come with PyAV: packets of a stream, or a whole file.

What is decoded came from a stranger: a file can be a playlist that names other files, so FFmpeg may open nothing
beside the bytes that it is given (`protocol_whitelist`). Decoders get no threads of their own.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from duologue.core.audio import SAMPLE_BYTES, STREAM
from duologue.core.errors import ClientError
from duologue.wire.opus import CODED_HZ, OpusDecoder

RATES_HZ = (4_000, 192_000)
"""Of encoded sound; outside of them no speech is recorded, and 1 Hz would be blown up sixteen thousand times."""

OPTIONS = {"protocol_whitelist": "none"}
"""There is no protocol of that name."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a stream's packets are.

    Attributes:
        codec: FFmpeg's name of it.
        setup: what its decoder needs to begin with ("extradata").
        rate_hz: 0 where the packets say it themselves; `channels` likewise.
        skip_samples: at `skip_hz`, to leave out at the beginning.
    """

    codec: str
    setup: bytes = b""
    rate_hz: int = 0
    channels: int = 0
    skip_samples: int = 0
    skip_hz: int = CODED_HZ


class NotDecodable(Exception):
    """These bytes cannot be decoded; the text says why. What follows may be."""


class PacketDecoder:
    """One stream's packets, in their order.

    Raises:
        NotDecodable: it has a codec, a rate or channels that nothing here decodes.
    """

    def __init__(self, head: Head) -> None:
        self._opus = self._context = None
        self._frames = _Frames()
        self._to_skip = head.skip_samples * STREAM.rate_hz // head.skip_hz * SAMPLE_BYTES
        if head.codec == "opus" and head.channels <= 2:
            self._opus = OpusDecoder(STREAM.rate_hz)
        else:
            self._context = _context(head)

    def decode(self, packet: bytes) -> bytes:
        """The samples of a packet.

        Raises:
            NotDecodable: it is broken; the next one may not be.
        """
        if self._opus is None:
            return self._skipped(self._with_ffmpeg(packet))
        try:
            return self._skipped(self._opus.decode(packet))
        except ClientError as error:
            raise NotDecodable(error.message) from error

    def drain(self) -> bytes:
        """What the resampler holds back; the stream may go on."""
        return self._frames.drain()

    def _with_ffmpeg(self, packet: bytes) -> bytes:
        import av

        assert self._context is not None
        try:
            frames = self._context.decode(av.Packet(packet))
        except (av.error.FFmpegError, ValueError) as error:
            raise NotDecodable(reason(error)) from error
        return b"".join(piece for frame in frames for piece in self._frames.push(frame))

    def _skipped(self, pcm: bytes) -> bytes:
        skip = min(self._to_skip, len(pcm))
        self._to_skip -= skip
        return pcm[skip:]


class PacketParser:
    """Finds the packets of a stream that has no container: MP3, or AAC in ADTS. Bytes may be cut anywhere."""

    def __init__(self, codec: str) -> None:
        import av

        self._context: Any = av.CodecContext.create(codec, "r")

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that are complete with these bytes."""
        return [bytes(packet) for packet in self._context.parse(data) if packet.size]

    def drain(self) -> list[bytes]:
        """The last packet, which was taken for incomplete as long as more might follow."""
        return [bytes(packet) for packet in self._context.parse(None) if packet.size]


def decode_file(data: bytes) -> Iterator[bytes]:
    """The samples of a whole file of any format that FFmpeg reads, piece by piece. A broken packet is left out.

    Raises:
        NotDecodable: it is none, or there is no sound in it.
    """
    import av

    errors = (av.error.FFmpegError, ValueError)
    try:
        container: Any = av.open(
            io.BytesIO(data), "r", metadata_errors="replace", options=dict(OPTIONS)
        )
    except errors as error:
        raise NotDecodable(reason(error)) from error
    with container:
        if not container.streams.audio:
            raise NotDecodable("there is no sound in it")
        track = container.streams.audio[0]
        if track.codec_context is None:
            raise NotDecodable("its sound is of a kind that is not known")
        track.codec_context.thread_count = 1
        frames, packets = _Frames(), container.demux(track)
        while True:
            try:
                packet = next(packets, None)
            except errors:  # the file breaks off
                packet = None
            if packet is None:
                break
            try:
                decoded = packet.decode()
            except errors:
                continue
            for frame in decoded:
                yield from frames.push(frame)
        yield frames.drain()


class _Frames:
    """Decoded frames of any kind -> samples."""

    def __init__(self) -> None:
        self._kind: tuple[str, str, int] | None = None
        self._resampler: Any = None

    def push(self, frame: Any) -> Iterator[bytes]:
        import av

        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind or self._resampler is None:
            yield self.drain()
            _check_rate(frame.sample_rate)
            self._kind = kind
            self._resampler = av.AudioResampler("s16", "mono", STREAM.rate_hz)
        frame.pts = None  # gaps in a stream's own clock are not filled
        yield self._pcm(frame)

    def drain(self) -> bytes:
        if self._resampler is None:
            return b""
        pcm, self._resampler = self._pcm(None), None
        return pcm

    def _pcm(self, frame: Any) -> bytes:
        import av

        try:
            parts = self._resampler.resample(frame)
        except (av.error.FFmpegError, ValueError) as error:
            raise NotDecodable(reason(error)) from error
        return b"".join(bytes(part.planes[0])[: part.samples * SAMPLE_BYTES] for part in parts)


def reason(error: Exception) -> str:
    """FFmpeg's, without the name that it gives to bytes."""
    return getattr(error, "strerror", None) or "its format is not known"


def _context(head: Head) -> Any:
    import av

    if head.rate_hz:
        _check_rate(head.rate_hz)
    try:
        context = av.CodecContext.create(head.codec, "r")
        assert isinstance(context, av.AudioCodecContext)
        context.thread_count = 1
        if head.setup:
            context.extradata = head.setup
        if head.rate_hz:
            context.sample_rate = head.rate_hz
        if head.channels:
            context.layout = {1: "mono", 2: "stereo"}.get(head.channels, f"{head.channels}c")
        context.open()
    except (av.error.FFmpegError, ValueError) as error:
        raise NotDecodable(reason(error)) from error
    return context


def _check_rate(rate_hz: int) -> None:
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise NotDecodable(f"a sample rate of {rate_hz} Hz is not decoded")
