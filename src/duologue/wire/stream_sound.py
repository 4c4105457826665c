"""A session's chunks -> 16 kHz mono samples, whatever they are: raw samples, whole files, or a file cut into pieces.

Which of them is seen from the first bytes: a file's header begins a new file, and what has none goes on with what was
before it. Both readings that clients have are thus served alike: each chunk is a file, or the chunks are the pieces
of one, as a browser's `MediaRecorder` gives them.

Pieces are read by small parsers that take bytes as they come, and packets go to FFmpeg's decoders. FFmpeg's own
demuxers pull: to feed one piece by piece takes a thread and a pipe for each session, which both must end with it, and
it looks at half a second of sound and more before it gives any. A parser has no thread, nothing to wait for, and
gives each packet as soon as its last byte is there. What has no parser here (FLAC, MP4 without fragments, Vorbis in
Ogg, ...) is read as a whole file, which each chunk then must be.

Measured on one core of a 2-vCPU virtual machine, per second of sound: raw samples at 24 kHz 0.9 ms in chunks of 20 ms
and 0.2 ms in those of 500 ms, at 16 kHz 0.2 ms in chunks of 20 ms; Chromium's WebM/Opus and MP4/Opus in pieces of
500 ms 1.6 ms; MP3 1.2 ms, AAC 1.5 ms, FLAC 1.0 ms. Held back: 66 ms of raw samples at 8 kHz and 21 ms at 24 and
48 kHz, until the utterance is over; of Opus less than one; of MP3 and AAC a frame. In an MP4 a fragment gives its
sound when it is whole; Chromium's first comes after a second.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from duologue.core.audio import SAMPLE_BYTES, STREAM
from duologue.core.errors import ClientError
from duologue.core.streaming import AudioChunk, SoundFormat
from duologue.wire import mp4_pieces, sound_magic, webm
from duologue.wire.ogg import Head as OggHead
from duologue.wire.ogg import OggOpusReader
from duologue.wire.ogg_pages import CAPTURE
from duologue.wire.sound_packets import (
    Head,
    NotDecodable,
    PacketDecoder,
    PacketParser,
    decode_file,
)
from duologue.wire.sound_raw import RATES_HZ, Resampler, WavReader

MAX_SOUND_S = 600
"""Of one chunk. A megabyte has 9 minutes of Opus at 16 kbit/s; compressed silence may claim to be days."""

MAX_FIRST_PAGE_BYTES = 27 + 1 + 255
"""Of Ogg: it has one packet of one lace."""

MAX_FRAMELESS_BYTES = 64 * 1024
"""Of what should be MP3 or AAC; a frame has at most 8 KiB."""

CHEAP_BYTES = 512 * 1024
"""Raw sound up to here is resampled within a millisecond."""


class Source(Protocol):
    """One file, or one stream of raw samples."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The samples that are complete with these bytes. A `NotDecodable` may be raised after some."""

    def drain(self) -> bytes:
        """What is held back; more may follow."""

    def gap(self) -> None:
        """Bytes are missing here."""


class StreamSound:
    """One session's decoder. Used by one thread at a time; `close` may come from another.

    Args:
        rate_hz: of raw samples that come without a rate of their own.
        kind: what the session's chunks were before: they may be pieces whose beginning was not seen here.

    Attributes:
        kind: what the chunks have been: raw samples are only guessed at where no file came before.
        broken: packets and stretches that were passed over.
    """

    def __init__(self, rate_hz: int = STREAM.rate_hz, *, kind: SoundFormat = "") -> None:
        self._rate_hz = rate_hz
        self._source: Source | None = None
        self.kind: SoundFormat = kind
        self.broken = 0

    def is_cheap(self, chunk: AudioChunk) -> bool:
        """Whether it may be decoded where other things wait; else in a worker thread."""
        return len(chunk.data) <= CHEAP_BYTES and (not chunk.data or self._is_raw(chunk))

    def decode(self, chunk: AudioChunk) -> bytes:
        """The samples that are complete with this chunk; a broken part of it is left out.

        Raises:
            ClientError: nothing in it can be decoded, or it is too long. What comes after it may be.
        """
        if not chunk.data:
            return b""
        pcm = bytearray()
        try:
            source = self._raw(chunk, pcm) if self._is_raw(chunk) else self._file(chunk, pcm)
            for piece in source.feed(chunk.data):
                pcm += piece
                _check_length(pcm)
        except NotDecodable as error:
            self.broken += 1
            if not pcm:
                raise _not_readable(str(error)) from error
        return bytes(pcm)

    def finish(self) -> bytes:
        """The utterance is over: what is held back. The same file may go on with the next."""
        return b"" if self._source is None else self._source.drain()

    def gap(self) -> None:
        """Chunks are missing here."""
        if self._source is not None:
            self._source.gap()

    def close(self) -> None:
        """Nothing more comes. It has no threads and no files: all that it holds is memory."""
        self._source = None

    def _is_raw(self, chunk: AudioChunk) -> bool:
        if chunk.format:
            return chunk.format == "pcm16"
        return self.kind != "container" and sound_magic.kind_of(chunk.data) == ""

    def _raw(self, chunk: AudioChunk, pcm: bytearray) -> Source:
        rate_hz = chunk.rate_hz or self._rate_hz
        if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
            raise ClientError(
                "audio_rate_not_supported",
                f"Raw samples come at {RATES_HZ[0]} to {RATES_HZ[1]} Hz, not at {rate_hz}.",
                param="sample_rate",
            )
        if len(chunk.data) % SAMPLE_BYTES:
            raise ClientError(
                "audio_odd_bytes",
                f"{len(chunk.data)} bytes are no whole number of 16-bit samples.",
                remedy="Cut raw samples between two of them; of a file, send the header first.",
                param="audio_data",
            )
        source = self._source
        if not isinstance(source, _Raw) or source.rate_hz != rate_hz:
            pcm += self.finish()
            self._source = source = _Raw(rate_hz)
        self.kind = "pcm16"
        return source

    def _file(self, chunk: AudioChunk, pcm: bytearray) -> Source:
        kind = sound_magic.kind_of(chunk.data)
        if self._source is not None and self.kind == "container":
            is_frame = isinstance(self._source, _Frames) and self._source.goes_on(kind, chunk.data)
            if is_frame or not kind:
                return self._source
        was_there, self.kind = self.kind == "container", "container"
        pcm += self.finish()
        if not kind and was_there:
            self._source = None
            raise NotDecodable("the beginning of the file has not come")
        self._source = source = _SOURCES.get(kind, _Whole)()
        return source


class _Raw:
    """Raw samples."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._resampler = Resampler(rate_hz)

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield self._resampler.push(data)

    def drain(self) -> bytes:
        return self._resampler.drain()

    def gap(self) -> None:
        """Whole samples are missing: the sound jumps, and that is all."""


class _Whole:
    """A file that came whole. What comes after it without a header is no file."""

    def __init__(self, *, is_over: bool = False) -> None:
        self._is_over = is_over

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._is_over:
            raise NotDecodable("it does not begin a file, and the one before is over")
        self._is_over = True
        yield from decode_file(data)

    def drain(self) -> bytes:
        return b""

    def gap(self) -> None:
        """Each chunk stands for itself."""


class _Wav:
    """WAV, in pieces; where its samples are not plain ones, as a whole file."""

    def __init__(self) -> None:
        self._reader = WavReader()
        self._whole: _Whole | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._whole is None and self._reader.is_over:
            self._whole = _Whole(is_over=True)
        if self._whole is None:
            try:
                yield self._reader.feed(data)
            except NotDecodable:
                self._whole = _Whole()
                yield from self._whole.feed(data)
        else:
            yield from self._whole.feed(data)

    def drain(self) -> bytes:
        return self._reader.drain()

    def gap(self) -> None:
        self._reader.gap()


class Reader(Protocol):
    """A container's pieces -> its packets."""

    def feed(self, data: bytes) -> Iterable[Head | bytes]:
        """What is complete with these bytes."""

    def gap(self) -> None:
        """Bytes are missing here."""


class _Pieces:
    """A file in pieces that a parser reads; if its sound is not what the parser knows, a whole file."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._decoder: PacketDecoder | None = None
        self._whole: _Whole | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._whole is not None:
            yield from self._whole.feed(data)
            return
        trouble: NotDecodable | None = None
        for part in self._parts(data):
            try:
                if isinstance(part, NotDecodable):
                    trouble = part
                elif isinstance(part, Head):
                    self._decoder = PacketDecoder(part)
                elif self._decoder is not None:
                    yield self._decoder.decode(part)
            except NotDecodable as error:
                trouble = error
        if trouble is None:
            return
        if self._decoder is not None:
            raise trouble
        self._whole = _Whole()
        yield from self._whole.feed(data)

    def _parts(self, data: bytes) -> Iterator[Head | bytes | NotDecodable]:
        """What the reader finds; after a trouble it goes on with the rest, if the file has begun."""
        while True:
            try:
                yield from self._reader.feed(data)
            except NotDecodable as error:
                yield error
                if self._decoder is not None:
                    data = b""
                    continue
            return

    def drain(self) -> bytes:
        return b"" if self._decoder is None else self._decoder.drain()

    def gap(self) -> None:
        self._reader.gap()


class _OggPieces:
    """Opus in Ogg, in pieces, as `MediaRecorder` of Firefox gives it. After a gap, from the next page on."""

    def __init__(self) -> None:
        self._reader = OggOpusReader()
        self._first = b""  # page: what the packets are
        self._rest = b""  # of what was looked at for a page
        self._hunts = False

    def feed(self, data: bytes) -> Iterator[Head | bytes]:
        if len(self._first) < MAX_FIRST_PAGE_BYTES and not self._hunts:
            self._first += data[: MAX_FIRST_PAGE_BYTES - len(self._first)]
        if self._hunts:
            data = self._next_page(data)
        try:
            parts = self._reader.feed(data)
        except ClientError as error:
            self.gap()
            raise NotDecodable("a page of Ogg is broken") from error
        for part in parts:
            if isinstance(part, OggHead):
                yield Head("opus", channels=part.channels, skip_samples=part.pre_skip)
            else:
                yield part

    def gap(self) -> None:
        self._hunts, self._rest = True, b""

    def _next_page(self, data: bytes) -> bytes:
        """From the next page on; the reader, which begins at a stream's first one, is shown that again."""
        data = self._rest + data
        at = data.find(CAPTURE + b"\0")
        if at < 0:
            self._rest = data[-len(CAPTURE) :]
            return b""
        self._hunts = False
        self._reader = OggOpusReader()
        laces = self._first[26:27] or b"\0"
        size = 27 + laces[0] + sum(self._first[27 : 27 + laces[0]])
        self._reader.feed(self._first[:size])
        return data[at:]


class _Frames:
    """Packets without a container: MP3, or AAC in ADTS."""

    def __init__(self, kind: str, codec: str) -> None:
        self._kind = kind
        self._parser = PacketParser(codec)
        self._decoder = PacketDecoder(Head(codec))
        self._frameless = 0  # bytes
        self._tag: int | None = None  # bytes of it that are still to come
        self._is_first = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._tag is None:
            self._tag = sound_magic.tag_bytes(data)
        skipped = min(self._tag, len(data))
        self._tag -= skipped
        packets = self._parser.feed(data[skipped:]) if skipped < len(data) else []
        self._frameless = 0 if packets else self._frameless + len(data) - skipped
        if self._frameless > MAX_FRAMELESS_BYTES:
            raise NotDecodable("there are no frames in it")
        yield from self._decoded(packets)

    def goes_on(self, kind: str, data: bytes) -> bool:
        """Whether this is more of the same: a piece may begin with a frame, as a file without notes does."""
        return kind == self._kind and not sound_magic.tag_bytes(data)

    def drain(self) -> bytes:
        try:
            return b"".join((*self._decoded(self._parser.drain()), self._decoder.drain()))
        except NotDecodable:
            return self._decoder.drain()

    def gap(self) -> None:
        """Each frame has a mark: the parser finds the next."""

    def _decoded(self, packets: list[bytes]) -> Iterator[bytes]:
        trouble = None
        for packet in packets:
            is_first, self._is_first = self._is_first, False
            if is_first and sound_magic.is_note(packet):
                continue
            try:
                yield self._decoder.decode(packet)
            except NotDecodable as error:
                trouble = error
        if trouble is not None:
            raise trouble


_SOURCES: dict[str, Callable[[], Source]] = {
    "wav": _Wav,
    "webm": lambda: _Pieces(webm.WebmReader()),
    "mp4": lambda: _Pieces(mp4_pieces.Mp4Reader()),
    "opus": lambda: _Pieces(_OggPieces()),
    "mp3": lambda: _Frames("mp3", "mp3float"),
    "aac": lambda: _Frames("aac", "aac"),
}


def _check_length(pcm: bytearray) -> None:
    if len(pcm) > MAX_SOUND_S * STREAM.rate_hz * SAMPLE_BYTES:
        raise ClientError(
            "audio_too_long",
            f"One chunk may have {MAX_SOUND_S // 60} minutes of sound; the rest of it was not read.",
            remedy="Send it in shorter files.",
            param="audio_data",
        )


def _not_readable(why: str) -> ClientError:
    return ClientError(
        "audio_not_readable",
        f"This chunk is no sound that can be decoded: {why}.",
        remedy='Begin a new file, or say "format": "pcm16" of raw samples.',
        param="audio_data",
    )
