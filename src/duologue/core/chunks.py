"""The order of a session's chunks of sound: repeated ones are dropped, late ones waited for, lost ones marked.

A chunk's place is its `index`, counted from 0 over the whole session. What came out of order is held until what is
missing before it has come, or has been waited for long enough: every place leaves exactly once, in order, as a chunk
or as lost.

Two habits of clients in the wild are served. A page that stops recording may send its last chunk once more, now
final: that ends the utterance and is no chunk of its own. And it may count from 0 again with its next recording:
other sound under the index 0, after a final chunk, is the beginning of a new count, whose chunks' places follow those
that were.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from zlib import crc32

from duologue.core.errors import ClientError
from duologue.core.streaming import AudioChunk

WINDOW = 64
"""How far a chunk may be ahead of what is missing: two minutes of a browser's pieces, 1.3 s of 20 ms ones."""

PATIENCE_MS = 5_000.0
"""What is missing is waited for so long: a client that was asked to send it again has had several round trips."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The chunks at these places, both included, have not come and are given up."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """What comes of a chunk.

    Attributes:
        index: its place.
        is_new: False for one that had come, or was given up: its sound is dropped.
        ready: what is now due, in order. A chunk without sound whose `index` is not new ends the utterance.
        missing: first and last place of a hole that this chunk leaves before it; told once for each hole.
    """

    index: int
    is_new: bool
    ready: tuple[AudioChunk | Lost, ...] = ()
    missing: tuple[int, int] | None = None


@dataclass(slots=True)
class _Hole:
    first: int
    last: int
    since_ms: float


@dataclass(slots=True)
class _Seen:
    """What is remembered of a chunk: enough to tell a repeated one from another of the same index."""

    size: int
    check: int
    is_final: bool

    def is_of(self, chunk: AudioChunk) -> bool:
        return self.size == len(chunk.data) and self.check == crc32(chunk.data)


class ChunkOrder:
    """Puts chunks into their order. Holds at most `window` - 1 of them, and remembers as many again by a checksum.

    Args:
        next_index: the place that is expected first.
        window: a chunk may be at most so many places ahead, less one, of the first that is missing.
        patience_ms: how long a hole is waited for, from when a later chunk came.
    """

    def __init__(
        self, next_index: int = 0, *, window: int = WINDOW, patience_ms: float = PATIENCE_MS
    ) -> None:
        self._window = window
        self._patience_ms = patience_ms
        self.reset(next_index)

    def reset(self, next_index: int = 0) -> None:
        """Forget everything, and expect this place first."""
        self._next = next_index  # the first that has not left
        self._seen = next_index - 1  # the last that has come
        self._base = 0  # the place of index 0
        self._held: dict[int, AudioChunk] = {}
        self._held_bytes = 0
        self._holes: list[_Hole] = []
        self._known: OrderedDict[int, _Seen] = OrderedDict()
        self._zero: _Seen | None = None  # index 0 of the present count
        self._was_final = False  # in the present count
        self._is_open = False  # the last chunk that left was not final

    @property
    def deadline_ms(self) -> float | None:
        """When `expire` is due; None while nothing is missing."""
        return self._holes[0].since_ms + self._patience_ms if self._holes else None

    @property
    def received(self) -> int:
        """All up to this place have come or were given up; -1 for none."""
        return self._next - 1

    @property
    def held(self) -> int:
        """Chunks that wait for earlier ones."""
        return len(self._held)

    @property
    def held_bytes(self) -> int:
        """Sound of the chunks that wait."""
        return self._held_bytes

    def push(self, chunk: AudioChunk, now_ms: float) -> Arrival:
        """A chunk has come.

        Raises:
            ClientError: its index cannot be served; nothing has changed.
        """
        before: list[AudioChunk | Lost] = []
        if self._begins_anew(chunk):
            before += self.flush()
            before += self._end_mark()
            self._base, self._zero, self._was_final = self._seen + 1, None, False
        place = self._seen + 1 if chunk.index is None else self._base + chunk.index
        self._check(chunk, place)
        if place < self._next or place in self._held:
            return Arrival(place, False, tuple(self._again(place, chunk)))
        missing = self._take(place, chunk, now_ms)
        return Arrival(place, True, (*before, *self._release()), missing)

    def expire(self, now_ms: float) -> tuple[AudioChunk | Lost, ...]:
        """Give up the holes that were waited for long enough; what they held back is due."""
        ready: list[AudioChunk | Lost] = []
        while self._holes and self._holes[0].since_ms + self._patience_ms <= now_ms:
            ready += self._give_up()
        return tuple(ready)

    def flush(self) -> tuple[AudioChunk | Lost, ...]:
        """Wait for nothing any more: all holes are given up, and all that is held is due."""
        ready: list[AudioChunk | Lost] = []
        while self._holes:
            ready += self._give_up()
        return tuple(ready)

    def _check(self, chunk: AudioChunk, place: int) -> None:
        if chunk.index is not None and chunk.index < 0:
            raise ClientError(
                "chunk_index_invalid",
                f"A chunk's index is 0 or more, not {chunk.index}.",
                remedy="Count chunks from 0, or leave 'chunk_index' out.",
                param="chunk_index",
            )
        if place >= self._next + self._window:
            raise ClientError(
                "chunk_index_too_far_ahead",
                f"Chunk {chunk.index} is more than {self._window - 1} ahead of chunk {self._next - self._base}, "
                "which has not come.",
                remedy=f"Send the chunks from {self._next - self._base} on, or leave 'chunk_index' out.",
                param="chunk_index",
            )
        known = self._known.get(place)
        is_mark = chunk.is_final and not chunk.data
        if known is not None and not is_mark and not known.is_of(chunk):
            raise ClientError(
                "chunk_index_reused",
                f"Other sound has come as chunk {chunk.index}.",
                remedy="Count 'chunk_index' up with each chunk, or leave it out. It may begin at 0 again after a "
                "final chunk.",
                param="chunk_index",
            )

    def _begins_anew(self, chunk: AudioChunk) -> bool:
        """Whether a client has begun to count from 0 again."""
        is_again = chunk.index == 0 and self._was_final and bool(chunk.data)
        return is_again and self._zero is not None and not self._zero.is_of(chunk)

    def _again(self, place: int, chunk: AudioChunk) -> Iterator[AudioChunk]:
        """A chunk that had come: only that it is final may be new."""
        known = self._known.get(place)
        if not chunk.is_final or known is None or known.is_final:
            return
        known.is_final = self._was_final = True
        if not self._held:
            yield from self._end_mark()
            return
        last = max(self._held)
        self._held[last] = replace(self._held[last], is_final=True)

    def _end_mark(self) -> Iterator[AudioChunk]:
        if self._is_open:
            self._is_open = False
            yield AudioChunk(b"", self._seen, is_final=True)

    def _take(self, place: int, chunk: AudioChunk, now_ms: float) -> tuple[int, int] | None:
        """Hold it; returns the hole that it leaves."""
        seen = _Seen(len(chunk.data), crc32(chunk.data), chunk.is_final)
        self._known[place] = seen
        while len(self._known) > self._window:
            self._known.popitem(last=False)
        if place == self._base:
            self._zero = seen
        self._was_final = self._was_final or chunk.is_final
        self._held[place] = replace(chunk, index=place)
        self._held_bytes += len(chunk.data)
        before, self._seen = self._seen, max(self._seen, place)
        if place > before + 1:
            self._holes.append(_Hole(before + 1, place - 1, now_ms))
            return before + 1, place - 1
        if place <= before:
            self._fill(place)
        return None

    def _fill(self, place: int) -> None:
        """What is left of the hole in which it was."""
        at, hole = next((i, h) for i, h in enumerate(self._holes) if h.first <= place <= h.last)
        parts = (
            _Hole(hole.first, place - 1, hole.since_ms),
            _Hole(place + 1, hole.last, hole.since_ms),
        )
        self._holes[at : at + 1] = [part for part in parts if part.first <= part.last]

    def _give_up(self) -> Iterator[AudioChunk | Lost]:
        hole = self._holes.pop(0)
        self._next = hole.last + 1
        yield Lost(hole.first, hole.last)
        yield from self._release()

    def _release(self) -> Iterator[AudioChunk]:
        while (chunk := self._held.pop(self._next, None)) is not None:
            self._next += 1
            self._held_bytes -= len(chunk.data)
            self._is_open = not chunk.is_final
            yield chunk
