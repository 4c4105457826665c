"""Opus in Ogg as a stream (RFC 7845), without any I/O: bytes in pieces of any size <-> Opus packets.

    for part in reader.feed(data): ...   # a Head where a stream begins, then its packets
    data = writer.write(packet, samples_48k)

What a reader keeps is at most a page and a packet.
"""

import secrets
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from duologue.core.errors import MalformedEvent
from duologue.wire.ogg_pages import (
    BEGINS,
    CONTINUED,
    ENDS,
    MAX_LACING,
    Page,
    PageReader,
    malformed,
)
from duologue.wire.opus import MAX_PACKET_BYTES

VENDOR = b"Duologue"


@dataclass(frozen=True, slots=True)
class Head:
    """A stream begins.

    Attributes:
        pre_skip: samples at 48 kHz to leave out at its beginning.
    """

    channels: int
    pre_skip: int


class OggOpusReader:
    """Bytes become Opus packets. A stream may begin anew at any time, as after a reconnection.

    Pages that precede the first stream are passed over without a word: browsers send what was left of the last one.
    """

    def __init__(self) -> None:
        self._pages = PageReader()
        self._begin(0)

    def feed(self, data: bytes) -> list[Head | bytes]:
        """What is complete with these bytes.

        Raises:
            MalformedEvent: it is no Ogg, or no Opus in it. It goes on with the next stream's beginning.
        """
        found: list[Head | bytes] = []
        try:
            for page in self._pages.feed(data):
                found += self._read(page)
        except MalformedEvent:
            self._begin(0)
            self._pages.hunt()
            raise
        return found

    @property
    def kept_bytes(self) -> int:
        """What it has of pages and packets that are not complete."""
        return self._pages.kept_bytes + len(self._partial)

    def _begin(self, serial: int) -> None:
        self._serial = serial
        self._number = 0  # of the page that is due
        self._packets = 0
        self._partial = bytearray()
        self._is_open = False  # a packet goes on with the next page
        self._too_long = False

    def _read(self, page: Page) -> Iterator[Head | bytes]:
        if page.flags & BEGINS:
            self._begin(page.serial)
        elif page.serial != self._serial:
            return  # another stream beside ours
        if page.number != self._number or not page.flags & CONTINUED:
            self._forget_partial()  # the page with its rest did not come
        continues = self._is_open
        self._number = (page.number + 1) & 0xFFFFFFFF
        for piece, is_end in page.pieces():
            if page.flags & CONTINUED and not continues:
                continues = is_end  # the end of a packet whose beginning did not come
                continue
            continues = True
            self._add(piece)
            if is_end:
                yield from self._packet()
        if page.flags & ENDS:
            self._pages.hunt()

    def _add(self, piece: bytes) -> None:
        self._is_open = True
        if self._too_long or len(self._partial) + len(piece) > MAX_PACKET_BYTES:
            self._too_long = True
            self._partial.clear()
        else:
            self._partial += piece

    def _packet(self) -> Iterator[Head | bytes]:
        packet, too_long = bytes(self._partial), self._too_long
        self._forget_partial()
        self._packets += 1
        if self._packets == 1:
            yield _head(packet)
        elif self._packets == 2 and (too_long or packet.startswith(b"OpusTags")):
            return  # which may carry pictures
        elif too_long:
            raise malformed(f"A packet has more than {MAX_PACKET_BYTES} bytes")
        elif packet:
            yield packet

    def _forget_partial(self) -> None:
        self._partial.clear()
        self._is_open = self._too_long = False


class OggOpusWriter:
    """Opus packets become one continuous stream; its headers go out with the first packet.

    Args:
        head: the identification header; see `OpusEncoder.head`.
    """

    def __init__(self, head: bytes) -> None:
        self._serial = secrets.randbits(32)
        self._number = 0
        self._granule = 0
        tags = b"OpusTags" + struct.pack("<I", len(VENDOR)) + VENDOR + bytes(4)
        self._headers = self._page(head, BEGINS) + self._page(tags)

    def write(self, packet: bytes, samples: int) -> bytes:
        """A page with one packet.

        Args:
            samples: how long it lasts, at 48 kHz.

        Raises:
            ValueError: it is longer than a decoder must take.
        """
        if len(packet) > MAX_PACKET_BYTES:
            raise ValueError(f"a packet has at most {MAX_PACKET_BYTES} bytes, not {len(packet)}")
        self._granule += samples
        headers, self._headers = self._headers, b""
        return headers + self._page(packet)

    def _page(self, packet: bytes, flags: int = 0) -> bytes:
        whole, rest = divmod(len(packet), MAX_LACING)
        lacing = bytes([MAX_LACING] * whole + [rest])
        page = Page(flags, self._granule, self._serial, self._number, lacing, packet)
        self._number += 1
        return page.encoded()


def _head(packet: bytes) -> Head:
    """Read an identification header (RFC 7845, section 5.1).

    Raises:
        MalformedEvent: it is none, or of more than two channels.
    """
    if len(packet) < 19 or not packet.startswith(b"OpusHead") or packet[8] & 0xF0:
        raise malformed("The stream in it is not Opus")
    channels, mapping = packet[9], packet[18]
    if mapping != 0 or channels not in (1, 2):
        raise malformed("The stream in it is neither mono nor stereo")
    return Head(channels, int.from_bytes(packet[10:12], "little"))
