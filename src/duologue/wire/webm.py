"""WebM (Matroska) as a stream, without any I/O: bytes in pieces of any size -> packets of its first track of sound.

This is what a browser's `MediaRecorder` gives: one file whose header comes once, whose length nobody knows, cut into
pieces wherever a timer fell, in the middle of a block too. Elements are RFC 8794's (EBML) and RFC 9559's (Matroska).
Those that contain what we want are entered, all others are passed over; as no number of an element means different
things at different depths, the depth is not kept.
"""

import re
import struct
from collections.abc import Iterator

from duologue.wire.opus import MAX_PACKET_BYTES
from duologue.wire.sound_packets import Head, NotDecodable

MAGIC = bytes.fromhex("1A45DFA3")

_EBML, _SEGMENT, _CLUSTER, _GROUP = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0xA0
_TRACKS, _ENTRY, _AUDIO = 0x1654AE6B, 0xAE, 0xE1
_NUMBER, _TYPE, _CODEC, _PRIVATE = 0xD7, 0x83, 0x86, 0x63A2
_RATE, _CHANNELS, _BITS = 0xB5, 0x9F, 0x6264
_BLOCK, _SIMPLE = 0xA1, 0xA3
_ENTERED = (_SEGMENT, _CLUSTER, _GROUP)
_BLOCKS = (_BLOCK, _SIMPLE)
_CLUSTER_ID = bytes.fromhex("1F43B675")
_MAYBE = re.compile(rb"[\xa3\x1f]")
_AFTER_A_BLOCK = (0xA3, 0xA0, 0x1F, 0xEC, 0x1C, 0x12)
"""First bytes of what may follow a block: another, a group, a cluster, a void, cues, tags."""

_SOUND = 2  # a track's type
_LACED = 0x06  # a block's flags

MAX_ELEMENT_BYTES = 1 << 20
"""Of what is kept whole or passed over; the end of a recording (cues) has a few kilobytes."""

MAX_BLOCK_BYTES = 4 * MAX_PACKET_BYTES
"""A browser's block of raw sound has 60 ms: 12 KiB."""

_CODECS = {
    "A_OPUS": "opus",
    "A_VORBIS": "vorbis",
    "A_FLAC": "flac",
    "A_AAC": "aac",
    "A_MPEG/L3": "mp3float",
}


class WebmReader:
    """Bytes become a `Head` where a file begins, then its packets. Keeps at most one element."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._skip = 0
        self._track = -1
        self._hunts = False
        self._found: Head | bytes | None = None

    @property
    def kept_bytes(self) -> int:
        """What it has of an element that is not complete."""
        return len(self._kept)

    def gap(self) -> None:
        """Pieces are missing here: it goes on with the next block that can be told."""
        self._kept.clear()
        self._skip = 0
        self._hunts = True

    def feed(self, data: bytes) -> Iterator[Head | bytes]:
        """What is complete with these bytes.

        Raises:
            NotDecodable: they are no WebM, or there is no sound in it. It goes on as after a gap.
        """
        self._kept += data
        try:
            while self._step():
                if self._found is not None:
                    yield self._found
        except NotDecodable:
            self._hunts = True
            del self._kept[:1]
            raise

    def _step(self) -> bool:
        """Whether something was taken out of what is kept."""
        self._found = None
        if self._skip:
            skipped = min(self._skip, len(self._kept))
            del self._kept[:skipped]
            self._skip -= skipped
            return skipped > 0
        if self._hunts:
            return self._hunt()
        kind, at = _number(self._kept, 0, keep_marker=True)
        size, at = _number(self._kept, at) if at else (0, 0)
        return bool(at) and self._element(kind, size, at)

    def _element(self, kind: int, size: int, at: int) -> bool:
        if kind in _ENTERED:
            del self._kept[:at]
            return True
        is_block = kind in _BLOCKS
        if size < 0 or size > (MAX_BLOCK_BYTES if is_block else MAX_ELEMENT_BYTES):
            raise NotDecodable("an element of it is too large")
        if not is_block and kind != _TRACKS:
            del self._kept[:at]
            self._skip = size
            if kind == _EBML:
                self._track = -1
            return True
        if len(self._kept) < at + size:
            return False
        body = bytes(self._kept[at : at + size])
        del self._kept[: at + size]
        self._found = self._block(body) if is_block else self._tracks(body)
        return True

    def _tracks(self, body: bytes) -> Head:
        for kind, entry in _elements(body):
            if kind == _ENTRY:
                fields = dict(_elements(entry))
                if _unsigned(fields.get(_TYPE, b"")) == _SOUND:
                    self._track = _unsigned(fields.get(_NUMBER, b""))
                    return _head(fields)
        raise NotDecodable("there is no sound in it")

    def _block(self, body: bytes) -> bytes | None:
        track, at = _number(body, 0)
        if not at or len(body) < at + 3:
            raise NotDecodable("a block of it is too short")
        if track != self._track:
            return None
        if body[at + 2] & _LACED:
            raise NotDecodable("several packets are laced into a block of it")
        return body[at + 3 :]

    def _hunt(self) -> bool:
        """Find the next cluster or block; whether one is there."""
        for found in _MAYBE.finditer(bytes(self._kept)):
            at = found.start()
            if self._kept[at] == _SIMPLE:
                is_one = self._looks_like_a_block(at)
            else:
                is_one = _begins(self._kept, at, _CLUSTER_ID)
            if is_one is None:  # more bytes will tell
                del self._kept[:at]
                return False
            if is_one:
                del self._kept[:at]
                self._hunts = False
                return True
        self._kept.clear()
        return False

    def _looks_like_a_block(self, at: int) -> bool | None:
        size, body = _number(self._kept, at + 1)
        if not body:
            return None if len(self._kept) < at + 9 else False
        if not 4 < size <= MAX_PACKET_BYTES or self._kept[body : body + 1] != bytes(
            [0x80 | self._track & 0x7F]
        ):
            return False if len(self._kept) > body else None
        end = body + size
        return None if len(self._kept) <= end else self._kept[end] in _AFTER_A_BLOCK


def _begins(data: bytearray, at: int, what: bytes) -> bool | None:
    piece = bytes(data[at : at + len(what)])
    if piece == what:
        return True
    return None if len(piece) < len(what) and what.startswith(piece) else False


def _number(data: bytes | bytearray, at: int, *, keep_marker: bool = False) -> tuple[int, int]:
    """A number of variable length, and where it ends: 0 if more bytes are needed; -1 for "unknown".

    Raises:
        NotDecodable: it is none.
    """
    if at >= len(data):
        return 0, 0
    length = 9 - data[at].bit_length()
    if length > (4 if keep_marker else 8):
        raise NotDecodable("it breaks off, or is something else")
    if len(data) < at + length:
        return 0, 0
    value = int.from_bytes(data[at : at + length], "big")
    if keep_marker:
        return value, at + length
    mask = (1 << 7 * length) - 1
    value &= mask
    return (-1 if value == mask else value), at + length


def _elements(body: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(body):
        kind, at = _number(body, at, keep_marker=True)
        size, at = _number(body, at) if at else (0, 0)
        if not at or size < 0 or at + size > len(body):
            raise NotDecodable("its header is broken")
        yield kind, body[at : at + size]
        at += size


def _head(fields: dict[int, bytes]) -> Head:
    audio = dict(_elements(fields.get(_AUDIO, b"")))
    name = fields.get(_CODEC, b"").rstrip(b"\0").decode("ascii", "replace")
    private = fields.get(_PRIVATE, b"")
    rate, channels = (
        int(_float(audio.get(_RATE, b""), 8_000)),
        _unsigned(audio.get(_CHANNELS, b"\1")),
    )
    if name == "A_OPUS":
        skip = int.from_bytes(private[10:12], "little")
        return Head("opus", private, rate, channels, skip)
    codec = _CODECS.get(name) or _raw_codec(name, _unsigned(audio.get(_BITS, b"")))
    return Head(codec, private, rate, channels)


def _raw_codec(name: str, bits: int) -> str:
    if name == "A_PCM/FLOAT/IEEE" and bits in (32, 64):
        return f"pcm_f{bits}le"
    if name == "A_PCM/INT/LIT" and bits in (16, 24, 32):
        return f"pcm_s{bits}le"
    raise NotDecodable(f"its sound is '{name[:32]}'")


def _unsigned(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _float(data: bytes, default: float) -> float:
    if len(data) not in (4, 8):
        return default
    value = float(struct.unpack(">f" if len(data) == 4 else ">d", data)[0])
    return value if 0 < value < 1e7 else default
