"""Sound as unmute's clients carry it: one continuous stream of Opus in Ogg each way, in pieces of whole pages."""

from duologue.core.audio import SAMPLE_BYTES, WIRE
from duologue.core.errors import MalformedEvent
from duologue.wire.ogg import Head, OggOpusReader, OggOpusWriter
from duologue.wire.ogg_pages import CAPTURE
from duologue.wire.opus import CODED_HZ, FRAME_MS, OpusDecoder, OpusEncoder

RATE_HZ = WIRE.rate_hz
FRAME_SAMPLES = CODED_HZ * FRAME_MS // 1000

MAX_DECODED_BYTES = 20 * RATE_HZ * SAMPLE_BYTES
"""Sound of one message, which has 80 ms of it from unmute's clients: packets of silence unpack a thousandfold."""


class Inlet:
    """A client's stream becomes samples at `RATE_HZ`; after a break it may begin anew."""

    def __init__(self) -> None:
        self._reader = OggOpusReader()
        self._decoder: OpusDecoder | None = None
        self._to_skip = 0
        self._complained = False
        self._late = b""  # what came before a trouble, in the same message

    def decode(self, data: bytes) -> bytes:
        """The samples that are complete with these bytes; none while the stream has not begun.

        Raises:
            MalformedEvent: they are not Opus in Ogg, or a packet is no Opus. Once for each stream: more would tell
                the client nothing. A stream that broke off may begin anew; a wrong packet costs only itself.
        """
        pcm, self._late = bytearray(self._late), b""
        trouble = None
        try:
            parts = self._reader.feed(data)
        except MalformedEvent as error:
            parts, trouble, self._decoder = [], error, None
        for part in parts:
            if len(pcm) > MAX_DECODED_BYTES:
                self._decoder, trouble = None, _too_much()
                break
            try:
                pcm += self._take(part)
            except MalformedEvent as error:
                trouble = error
        if self._decoder is None and not self._reader.kept_bytes and CAPTURE not in data:
            trouble = trouble or _no_ogg()
        if trouble is not None and not self._complained:
            self._complained, self._late = True, bytes(pcm)
            raise trouble
        return bytes(pcm)

    def _take(self, part: Head | bytes) -> bytes:
        if isinstance(part, Head):
            self._begin(part)
        elif self._decoder is not None:
            return self._skipped(self._decoder.decode(part))
        return b""

    def _begin(self, head: Head) -> None:
        self._complained = False
        self._decoder = OpusDecoder(RATE_HZ)
        self._to_skip = head.pre_skip * RATE_HZ // CODED_HZ * SAMPLE_BYTES

    def _skipped(self, pcm: bytes) -> bytes:
        """Without what the stream's head says is to be left out."""
        skip = min(self._to_skip, len(pcm))
        self._to_skip -= skip
        return pcm[skip:]


class Outlet:
    """Frames of samples at `RATE_HZ` become pages. The coder is made when there is something to say."""

    def __init__(self) -> None:
        self._coder: tuple[OpusEncoder, OggOpusWriter] | None = None
        self._is_silent = True

    def encode(self, pcm: bytes) -> bytes:
        """The pages of some samples; the last frame is filled up with silence."""
        if self._coder is None:
            encoder = OpusEncoder(RATE_HZ)
            self._coder = encoder, OggOpusWriter(encoder.head)
        encoder, writer = self._coder
        self._is_silent = False
        size = encoder.frame_bytes
        frames = (pcm[at : at + size] for at in range(0, len(pcm), size))
        return b"".join(writer.write(encoder.encode(frame), FRAME_SAMPLES) for frame in frames)

    def flush(self) -> bytes:
        """Pages with what the encoder still holds, so that it is not the beginning of the next answer."""
        if self._is_silent or self._coder is None:
            return b""
        pages = self.encode(bytes(self._coder[0].frame_bytes))
        self._is_silent = True
        return pages


def _too_much() -> MalformedEvent:
    return MalformedEvent(
        "audio_too_long",
        "One message may carry 20 seconds of sound.",
        remedy="Send it in smaller pieces, and begin a new stream.",
        param="audio",
    )


def _no_ogg() -> MalformedEvent:
    return MalformedEvent(
        "invalid_value",
        "Invalid 'audio'. Expected Opus in Ogg, base64-encoded; this is something else.",
        remedy="Send a stream of mono Opus in Ogg from its first page on.",
        param="audio",
    )
