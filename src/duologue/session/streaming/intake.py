"""Chunks to sound: put in order, decoded, and the place of each on the session's clock known until it is stored."""

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from duologue.core.audio import SAMPLE_BYTES, ms_to_samples
from duologue.core.chunks import Arrival, ChunkOrder, Lost
from duologue.core.errors import AtCapacity, ClientError, DuologueError
from duologue.core.streaming import AudioChunk, SoundFormat
from duologue.ports import Clock

MAX_CHUNKS = 65_536
"""Whose places are remembered: eleven minutes of 10 ms chunks, and the buffer's bound comes sooner."""

LOOK_S = 0.05
"""How often it is looked whether there is room for more."""

MAX_GAP_MS = 60_000
"""Time that lost chunks are taken to have lasted, at most."""


class Decoder(Protocol):
    """Chunks to 16 kHz mono samples. Used from one thread at a time.

    Attributes:
        kind: what the chunks have been.
    """

    kind: SoundFormat

    def is_cheap(self, chunk: AudioChunk) -> bool:
        """It may be decoded on the event loop."""

    def decode(self, chunk: AudioChunk) -> bytes:
        """Its samples, and what was held back of the ones before.

        Raises:
            ClientError: it is no sound.
        """

    def finish(self) -> bytes:
        """The utterance is over: what is held back."""

    def gap(self) -> None:
        """Sound is missing here."""

    def close(self) -> None:
        """Nothing more comes."""


class Sink(Protocol):
    """Who takes the sound."""

    def heard(self, pcm: bytes) -> None:
        """More of it."""

    def lost(self, chunks: Lost, samples: int) -> None:
        """So much is missing here."""

    def utterance_over(self) -> None:
        """The client says so."""

    def chunk_failed(self, error: DuologueError, index: int) -> None:
        """A chunk was passed over."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A chunk's place on the session's clock, in samples; `end` excluded."""

    index: int
    start: int
    end: int


class Intake:
    """One session's. Whoever owns it runs it as a task.

    Args:
        start: where the session's clock stands at chunk `next_index`.
        skip_ms: of the sound that comes, so much is stored already.
        has_room: what is decoded may be taken: compressed sound is held back until it can be.
    """

    def __init__(
        self,
        make_decoder: Callable[[], Decoder],
        sink: Sink,
        clock: Clock,
        has_room: Callable[[], bool] = lambda: True,
        *,
        next_index: int = 0,
        start: int = 0,
        skip_ms: int = 0,
    ) -> None:
        self._make_decoder = make_decoder
        self._decoder: Decoder | None = None
        self._sink = sink
        self._clock = clock
        self._has_room = has_room
        self._generation = 0  # of what came since the last reset
        self._order = ChunkOrder(next_index)
        self._queue: deque[AudioChunk | Lost] = deque()
        self._queued_bytes = 0
        self._is_decoding = False
        self._came = asyncio.Event()
        self._position = start
        self._skip = ms_to_samples(skip_ms)
        self._places: deque[Placed] = deque()
        self._last_samples = 0

    # --- what is asked ---
    @property
    def received(self) -> int:
        """See `ChunkReceived`."""
        return self._order.received

    @property
    def sound(self) -> SoundFormat:
        """What the chunks have been."""
        return self._decode_with().kind

    @property
    def held_bytes(self) -> int:
        """Chunks that wait for earlier ones, or for their decoding."""
        return self._order.held_bytes + self._queued_bytes

    @property
    def held_chunks(self) -> int:
        """How many those are."""
        return self._order.held + len(self._queue) + self._is_decoding

    def at(self, sample: int) -> int:
        """The chunk in which this place lies, or the nearest that is remembered; -1 where none is."""
        if not self._places:
            return -1
        at = bisect_left(self._places, sample + 1, key=lambda placed: placed.end)
        return self._places[min(at, len(self._places) - 1)].index

    def next_after(self, sample: int) -> tuple[int, int]:
        """The first chunk with sound after this place, and how many samples of it lie before the place."""
        for placed in self._places:
            if placed.end > sample:
                return placed.index, max(0, sample - placed.start)
        if not self._places:
            return self.received + 1, self._skip
        return self._places[-1].index + 1, 0

    def forget_before(self, index: int) -> None:
        """These chunks are stored. The last of them is kept, so that the place after it is known."""
        while len(self._places) > 1 and self._places[1].index < index:
            self._places.popleft()

    # --- in ---
    def take(self, chunk: AudioChunk, room: int) -> Arrival:
        """A chunk has come; `room` is how many bytes more the session may hold.

        Raises:
            ClientError: it cannot be served.
            AtCapacity: there is no room for it; it is to be sent again later.
        """
        if len(chunk.data) > room or len(self._places) >= MAX_CHUNKS:
            raise AtCapacity(
                "buffer_full",
                "This session holds as much sound as it may that is not transcribed yet.",
                remedy="Send this chunk again in some seconds; those before it are kept.",
            )
        arrival = self._order.push(chunk, self._clock())
        self._add(arrival.ready)
        return arrival

    def tick(self, now_ms: float) -> None:
        """Time passes: what is missing for too long is given up."""
        if self._order.deadline_ms is not None and now_ms >= self._order.deadline_ms:
            self._add(self._order.expire(now_ms))

    def finish(self) -> None:
        """Nothing more comes: wait for nothing that is missing; the utterance is over behind all that came."""
        ready: list[AudioChunk | Lost] = [*self._order.flush()]
        if self.received >= 0:
            ready.append(AudioChunk(b"", self.received, is_final=True))
        self._add(ready)

    def reset(self) -> None:
        """Forget what waits, and count from 0 again. A recording goes on: its pieces are read as before."""
        self._generation += 1
        self._skip = 0
        self._queue.clear()
        self._queued_bytes = 0
        self._order.reset()
        self._places.clear()

    def _add(self, ready: Sequence[AudioChunk | Lost]) -> None:
        for item in ready:
            if isinstance(item, AudioChunk):
                self._queued_bytes += len(item.data)
            self._queue.append(item)
        while self._queue and not self._is_decoding and self._is_cheap(self._queue[0]):
            item = self._queue.popleft()
            self._release(item)
            self._deal_with(item)
        if self._queue:
            self._came.set()

    async def run(self) -> None:
        """Decode what takes long, apart, one after the other."""
        try:
            while True:
                await self._came.wait()
                self._came.clear()
                while self._queue:
                    await self._next()
        finally:
            self._close_decoder()

    async def _next(self) -> None:
        item = self._queue.popleft()
        self._is_decoding = True
        generation = self._generation
        try:
            if self._is_cheap(item):
                self._deal_with(item)
            else:
                assert isinstance(item, AudioChunk)
                while not self._has_room():  # noqa: ASYNC110 - nobody tells when there is room
                    await asyncio.sleep(LOOK_S)
                try:
                    pcm = await asyncio.to_thread(_decoded, self._decode_with(), item)
                except ClientError as error:
                    self._failed(error, item)
                else:
                    if self._generation == generation:
                        self._decoded(item, pcm)
        finally:
            self._is_decoding = False
            if self._generation == generation:
                self._release(item)

    def _deal_with(self, item: AudioChunk | Lost) -> None:
        if isinstance(item, Lost):
            self._lost(item)
            return
        try:
            pcm = _decoded(self._decode_with(), item)
        except ClientError as error:
            self._failed(error, item)
        else:
            self._decoded(item, pcm)

    def _failed(self, error: ClientError, chunk: AudioChunk) -> None:
        self._sink.chunk_failed(error, chunk.index or 0)
        self._decoded(chunk, b"")

    def _decoded(self, chunk: AudioChunk, pcm: bytes) -> None:
        whole = len(pcm) - len(pcm) % SAMPLE_BYTES
        samples = whole // SAMPLE_BYTES
        skipped = min(self._skip, samples)
        self._skip -= skipped
        assert chunk.index is not None
        start, self._position = self._position, self._position + samples
        if samples:
            self._last_samples = samples
        if self._places and self._places[-1].index == chunk.index:  # a mark that it was the last
            start = self._places.pop().start
        self._places.append(Placed(chunk.index, start, self._position))
        if samples > skipped:
            self._sink.heard(pcm[skipped * SAMPLE_BYTES : whole])
        if chunk.is_final:
            self._skip = 0
            self._sink.utterance_over()

    def _lost(self, item: Lost) -> None:
        count = item.last - item.first + 1
        samples = min(ms_to_samples(MAX_GAP_MS), count * self._last_samples)
        self._places.append(Placed(item.last, self._position, self._position + samples))
        self._position += samples
        self._skip = 0
        self._decode_with().gap()
        self._sink.lost(item, samples)

    def _is_cheap(self, item: AudioChunk | Lost) -> bool:
        return isinstance(item, Lost) or not item.data or self._decode_with().is_cheap(item)

    def _decode_with(self) -> Decoder:
        if self._decoder is None:
            self._decoder = self._make_decoder()
        return self._decoder

    def _close_decoder(self) -> None:
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            decoder.close()

    def _release(self, item: AudioChunk | Lost) -> None:
        if isinstance(item, AudioChunk):
            self._queued_bytes = max(0, self._queued_bytes - len(item.data))


def _decoded(decoder: Decoder, chunk: AudioChunk) -> bytes:
    pcm = decoder.decode(chunk) if chunk.data else b""
    return pcm + decoder.finish() if chunk.is_final else pcm
