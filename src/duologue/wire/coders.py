"""Sound between a client's format and PCM: one decoder a connection, one encoder an answer."""

from typing import Protocol

from duologue.core.audio import SAMPLE_BYTES, AudioFormat
from duologue.core.errors import MalformedEvent
from duologue.wire import g711


class Decoder(Protocol):
    """What a client sends -> samples."""

    def decode(self, data: bytes) -> bytes:
        """The samples of one message.

        Raises:
            MalformedEvent: it is no sound of this format.
        """


class Encoder(Protocol):
    """Samples -> what a client is sent."""

    def encode(self, pcm: bytes) -> bytes:
        """One frame's message."""


class Pcm:
    """As it is."""

    def decode(self, data: bytes) -> bytes:
        """See `Decoder`."""
        if len(data) % SAMPLE_BYTES:
            raise MalformedEvent(
                "invalid_value",
                "Invalid 'audio'. Expected base64-encoded audio bytes (mono PCM16), but "
                f"{len(data)} bytes are no whole number of 16-bit samples.",
                param="audio",
            )
        return data

    def encode(self, pcm: bytes) -> bytes:
        """See `Encoder`."""
        return pcm


class G711:
    """Telephone sound."""

    def __init__(self, law: g711.Law) -> None:
        self._law: g711.Law = law

    def decode(self, data: bytes) -> bytes:
        """See `Decoder`."""
        return g711.decode(data, self._law)

    def encode(self, pcm: bytes) -> bytes:
        """See `Encoder`."""
        return g711.encode(pcm, self._law)


PCM = Pcm()


def decoder(fmt: AudioFormat) -> Decoder:
    """For a client's sound."""
    if fmt.codec == "opus":
        from duologue.wire.opus import OpusDecoder

        return OpusDecoder(fmt.rate_hz)
    return PCM if fmt.codec == "pcm" else G711(fmt.codec)


def encoder(fmt: AudioFormat) -> Encoder:
    """For an answer's sound, cut into frames of 20 ms."""
    if fmt.codec == "opus":
        from duologue.wire.opus import OpusEncoder

        return OpusEncoder(fmt.rate_hz)
    return PCM if fmt.codec == "pcm" else G711(fmt.codec)
