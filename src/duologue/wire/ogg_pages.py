"""Pages of Ogg (RFC 3533), without any I/O: bytes in pieces of any size <-> pages with their checksum.

PyAV reads and writes containers through file objects, which block where bytes are still to come; hence our own
pages. A reader keeps one page at most.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from duologue.core.errors import MalformedEvent

CAPTURE = b"OggS"
CONTINUED, BEGINS, ENDS = 1, 2, 4
"""A page's flags: its first packet began on the page before; it is its stream's first; it is the last."""

_HEADER = struct.Struct("<4sBBqIIIB")
_CRC_AT = 22
MAX_LACING = 255
MAX_PAGE_BYTES = _HEADER.size + MAX_LACING + MAX_LACING * 255

_BIT_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def checksum(data: bytes) -> int:
    """Ogg's CRC-32: zlib's polynomial with the bits in their own order, from 0 and not inverted."""
    mirrored = zlib.crc32(data.translate(_BIT_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_BIT_REVERSED), "big")


@dataclass(frozen=True, slots=True)
class Page:
    """A page whose checksum is right.

    Attributes:
        granule: samples at 48 kHz that are complete with this page, since the stream's first.
        lacing: the lengths of its packets' pieces; one of 255 goes on with the next.
    """

    flags: int
    granule: int
    serial: int
    number: int
    lacing: bytes
    body: bytes

    def pieces(self) -> Iterator[tuple[bytes, bool]]:
        """What it has of each packet, and whether the packet ends there."""
        start = at = 0
        for size in self.lacing:
            at += size
            if size < MAX_LACING:
                yield self.body[start:at], True
                start = at
        if start < at:
            yield self.body[start:at], False

    def encoded(self) -> bytes:
        """As bytes."""
        fields = (self.flags, self.granule, self.serial, self.number)
        header = _HEADER.pack(CAPTURE, 0, *fields, 0, len(self.lacing))
        page = bytearray(header + self.lacing + self.body)
        page[_CRC_AT : _CRC_AT + 4] = checksum(bytes(page)).to_bytes(4, "little")
        return bytes(page)


class PageReader:
    """Bytes become pages, from the first page of an Opus stream on; what comes before it is passed over."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._hunting = True

    def feed(self, data: bytes) -> list[Page]:
        """The pages that are complete with these bytes.

        Raises:
            MalformedEvent: something else stands where a page should. It goes on with the next stream's beginning.
        """
        self._buffer += data
        pages = []
        while (page := self._next()) is not None:
            pages.append(page)
        return pages

    @property
    def kept_bytes(self) -> int:
        """What it has of a page that is not complete."""
        return len(self._buffer)

    def hunt(self) -> None:
        """Pass over everything up to the beginning of a stream."""
        self._hunting = True

    def _next(self) -> Page | None:
        while self._hunting:
            if not self._find_beginning():
                return None
            page = self._read(_size(self._buffer) or 0)
            if page is not None:
                self._hunting = False
                return page
            del self._buffer[: len(CAPTURE)]
        if not CAPTURE.startswith(self._buffer[:4]) or (self._buffer[4:5] or b"\0") != b"\0":
            raise self._lost("There is no page of Ogg where one should begin")
        size = _size(self._buffer)
        if size is None or len(self._buffer) < size:
            return None
        page = self._read(size)
        if page is None:
            raise self._lost("The checksum of a page of Ogg is wrong")
        return page

    def _find_beginning(self) -> bool:
        """Leave at the buffer's front what may be a stream's first page, whole. That has one short packet."""
        while (at := self._buffer.find(CAPTURE)) >= 0:
            del self._buffer[:at]
            if len(self._buffer) < _HEADER.size:
                return False
            _, version, flags, *_, laces = _HEADER.unpack_from(self._buffer)
            if version == 0 and flags & BEGINS and laces == 1:
                size = _size(self._buffer)
                return size is not None and len(self._buffer) >= size
            del self._buffer[: len(CAPTURE)]
        tail = next(n for n in (3, 2, 1, 0) if self._buffer.endswith(CAPTURE[:n]))
        del self._buffer[: len(self._buffer) - tail]
        return False

    def _read(self, size: int) -> Page | None:
        """Take the page at the buffer's front; None, and nothing is taken, if its checksum is wrong."""
        data = bytearray(self._buffer[:size])
        _, _, flags, granule, serial, number, crc, laces = _HEADER.unpack_from(data)
        data[_CRC_AT : _CRC_AT + 4] = bytes(4)
        if checksum(bytes(data)) != crc:
            return None
        del self._buffer[:size]
        body_at = _HEADER.size + laces
        lacing, body = bytes(data[_HEADER.size : body_at]), bytes(data[body_at:])
        return Page(flags, granule, serial, number, lacing, body)

    def _lost(self, what: str) -> MalformedEvent:
        self._hunting = True
        del self._buffer[: len(CAPTURE)]
        del self._buffer[:-MAX_PAGE_BYTES]
        return malformed(what)


def malformed(what: str) -> MalformedEvent:
    """An error of the stream's."""
    return MalformedEvent(
        "invalid_value",
        f"Invalid 'audio'. Expected Opus in Ogg, base64-encoded. {what}.",
        remedy="Begin a stream anew: its first page has the flag for that, and an OpusHead.",
        param="audio",
    )


def _size(data: bytes | bytearray) -> int | None:
    """Bytes of the page that begins here; None as long as its header is not whole."""
    if len(data) < _HEADER.size:
        return None
    laces_end = _HEADER.size + data[_HEADER.size - 1]
    if len(data) < laces_end:
        return None
    return laces_end + sum(data[_HEADER.size : laces_end])
