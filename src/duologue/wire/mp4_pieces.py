"""Fragmented MP4 as a stream, without any I/O: bytes in pieces of any size -> packets of its first track of sound.

This is what `MediaRecorder` of Safari gives (AAC) and that of Chromium can (Opus): a header (`moov`) once, then for
each fragment an index (`moof`) and its sound (`mdat`). Boxes are those of ISO/IEC 14496-12, `esds` of 14496-14,
`dOps` of the Opus mapping. Files whose index is not in fragments are no streams: see `sound_packets.decode_file`.
"""

from collections.abc import Iterator

from duologue.wire.sound_packets import Head, NotDecodable

MAX_BOX_BYTES = 4 << 20
"""Of what is kept whole: a fragment of 30 seconds at 256 kbit/s has one megabyte."""

_KEPT = (b"moov", b"moof", b"mdat")


def is_stream(data: bytes) -> bool:
    """Whether a file's beginning says that fragments follow, or is only the first piece of one."""
    kinds, at = set(), 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        kinds.add(data[at + 4 : at + 8])
        at += size if size >= 8 else len(data)
    return b"mvex" in data[:65_536] or at > len(data) or not kinds >= {b"moov", b"mdat"}


class Mp4Reader:
    """Bytes become a `Head` where a file begins, then its packets. Keeps at most one box and a fragment's index."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._skip = 0
        self._track = -1
        self._default_size = 0
        self._at = 0  # of the first byte that is kept
        self._index: list[tuple[int, int]] = []  # of the fragment: place and size of each packet
        self._hunts = False

    @property
    def kept_bytes(self) -> int:
        """What it has of a box that is not complete."""
        return len(self._kept)

    def gap(self) -> None:
        """Pieces are missing here: it goes on with the next fragment."""
        self._kept.clear()
        self._index.clear()
        self._skip = 0
        self._hunts = True

    def feed(self, data: bytes) -> Iterator[Head | bytes]:
        """What is complete with these bytes.

        Raises:
            NotDecodable: they are no MP4, or there is no sound in it. It goes on as after a gap.
        """
        self._kept += data
        try:
            while (found := self._step()) is not None:
                yield from found
        except NotDecodable:
            self._hunts = True
            self._drop(1)
            raise

    def _step(self) -> list[Head | bytes] | None:
        """What a box gave; None while there is no whole one."""
        if self._skip:
            skipped = min(self._skip, len(self._kept))
            self._drop(skipped)
            self._skip -= skipped
            return [] if skipped else None
        if self._hunts and not self._hunt():
            return None
        if len(self._kept) < 16:
            return None
        size, kind, start = _box(self._kept, 0)
        if kind not in _KEPT:
            self._skip = size
            if not kind.isalnum():
                raise NotDecodable("it breaks off, or is something else")
            return []
        if size > MAX_BOX_BYTES:
            raise NotDecodable("a part of it is too large")
        if len(self._kept) < size:
            return None
        body = bytes(self._kept[start:size])
        found = self._read(kind, body, start)
        self._drop(size)
        return found

    def _read(self, kind: bytes, body: bytes, start: int) -> list[Head | bytes]:
        if kind == b"moov":
            return [self._header(body)]
        if kind == b"moof":
            self._index = list(self._packets(body))
            return []
        if self._track < 0:
            raise NotDecodable("its sound comes before its index: such a file must come whole")
        first = self._at + start
        packets = [body[at - first : at - first + size] for at, size in self._index if at >= first]
        self._index = []
        return [packet for packet in packets if packet]

    def _hunt(self) -> bool:
        at = self._kept.find(b"moof", 4)
        if at < 0:
            self._drop(max(0, len(self._kept) - 7))
            return False
        self._drop(at - 4)
        self._hunts = False
        return True

    def _drop(self, size: int) -> None:
        size = min(size, len(self._kept))
        del self._kept[:size]
        self._at += size

    def _header(self, body: bytes) -> Head:
        sizes: dict[int, int] = {}
        for kind, box in _boxes(body):
            if kind == b"mvex":
                sizes |= {_u32(trex, 4): _u32(trex, 16) for k, trex in _boxes(box) if k == b"trex"}
        for kind, box in _boxes(body):
            if kind == b"trak" and (head := _sound(box)) is not None:
                header = _inside(box, b"tkhd")
                self._track = _u32(header, 20 if header[:1] == b"\1" else 12)
                self._default_size = sizes.get(self._track, 0)
                return head
        raise NotDecodable("there is no sound in it")

    def _packets(self, body: bytes) -> Iterator[tuple[int, int]]:
        for kind, fragment in _boxes(body):
            if kind == b"traf":
                header = _inside(fragment, b"tfhd")
                if _u32(header, 4) == self._track:
                    default = _default_size(header) or self._default_size
                    at = self._at
                    for inner, run in _boxes(fragment):
                        if inner == b"trun":  # codespell:ignore
                            packets = list(_run(run, self._at, at, default))
                            yield from packets
                            at = sum(packets[-1]) if packets else at


def _run(run: bytes, origin: int, at: int, default: int) -> Iterator[tuple[int, int]]:
    """Place and size of each packet of a run."""
    flags, count, place = _u32(run, 0) & 0xFFFFFF, _u32(run, 4), 8
    if flags & 1:
        at = origin + _u32(run, place)
        place += 4
    place += 4 if flags & 4 else 0
    has_duration, has_size = bool(flags & 0x100), bool(flags & 0x200)
    step = 4 * (flags >> 8 & 15).bit_count()
    if count > MAX_BOX_BYTES // 4:
        raise NotDecodable("its index is broken")
    for number in range(count):
        size = _u32(run, place + number * step + 4 * has_duration) if has_size else default
        yield at, size
        at += size


def _default_size(header: bytes) -> int:
    flags, at = _u32(header, 0), 8
    at += 8 * bool(flags & 1) + 4 * bool(flags & 2) + 4 * bool(flags & 8)
    return _u32(header, at) if flags & 0x10 else 0


def _sound(track: bytes) -> Head | None:
    """What a track's packets are; None if it is no sound."""
    media = _inside(track, b"mdia")
    if _inside(media, b"hdlr")[8:12] != b"soun":
        return None
    described = _inside(media, b"minf", b"stbl", b"stsd")
    size, kind, start = _box(described, 8)
    entry = described[8 + start : 8 + size]
    channels, rate_hz, boxes = (
        int.from_bytes(entry[16:18], "big"),
        _u32(entry, 24) >> 16,
        entry[28:],
    )
    if kind == b"Opus":
        about = _inside(boxes, b"dOps")
        return Head("opus", b"", 48_000, about[1], int.from_bytes(about[2:4], "big"))
    if kind == b"mp4a":
        return Head("aac", _aac_setup(_inside(boxes, b"esds")[4:]), rate_hz, channels)
    raise NotDecodable(f"its sound is '{kind.decode('ascii', 'replace')}'")


def _aac_setup(data: bytes) -> bytes:
    """The decoder's setup within descriptors within descriptors (ISO/IEC 14496-1: tags 3, 4, 5)."""
    skip = {3: 3, 4: 13}
    at = 0
    while at + 2 <= len(data):
        tag, at, size = data[at], at + 1, 0
        while at < len(data):
            size, more, at = size << 7 | data[at] & 0x7F, data[at] & 0x80, at + 1
            if not more:
                break
        if tag == 5:
            return data[at : at + size]
        at += skip.get(tag, size)
    raise NotDecodable("its header is broken")


def _box(data: bytes | bytearray, at: int) -> tuple[int, bytes, int]:
    """Size, kind, and where the content begins, all from the box's own beginning."""
    size, kind = _u32(data, at), bytes(data[at + 4 : at + 8])
    start = 8
    if size == 1:
        size, start = _u32(data, at + 8) << 32 | _u32(data, at + 12), 16
    if size < start:
        raise NotDecodable("it breaks off, or is something else")
    return size, kind, start


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, kind, start = _box(data, at)
        yield kind, data[at + start : at + size]
        at += size


def _inside(data: bytes, *path: bytes) -> bytes:
    for wanted in path:
        found = next((box for kind, box in _boxes(data) if kind == wanted), None)
        if found is None:
            raise NotDecodable("its header is broken")
        data = found
    return data


def _u32(data: bytes | bytearray, at: int) -> int:
    if len(data) < at + 4:
        raise NotDecodable("its header is broken")
    return int.from_bytes(data[at : at + 4], "big")
