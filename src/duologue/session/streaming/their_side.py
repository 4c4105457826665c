"""The listening side of a session: chunks that come, and what is told of what was heard in them."""

from collections.abc import Callable
from typing import Protocol

from duologue.core.errors import AtCapacity, DuologueError, MalformedEvent, StateConflict
from duologue.core.records import ItemRecord
from duologue.core.streaming import (
    AudioChunk,
    ChunkReceived,
    ChunksMissing,
    GapMarked,
    Lasting,
    Partial,
    StreamNotice,
    StreamOptions,
    StreamProblem,
    Transcribed,
)
from duologue.core.words import Word
from duologue.session.streaming.our_side import OurSide
from duologue.session.streaming.shared import Shared
from duologue.session.streaming.standing import Standing
from duologue.session.streaming.transcript import Gap, Now, Part, Place, Transcript


class Host(Protocol):
    """The session."""

    id: str
    options: StreamOptions
    standing: Standing

    def tell(self, notice: StreamNotice) -> None:
        """Tell all listeners."""

    def store(self, notice: Lasting, place: Place | None = None) -> ItemRecord:
        """Store it, and where the sound stands; then tell it."""

    def next_number(self) -> int:
        """For an item."""


class TheirSide:
    """One session's; see `transcript.Desk`.

    Args:
        is_full: the store is too slow for more.
        last: the last word that was told, if it will be heard again.

    Attributes:
        is_closing: no more sound is taken.
    """

    def __init__(
        self,
        host: Host,
        shared: Shared,
        ours: OurSide,
        is_full: Callable[[], bool],
        last: Word | None = None,
    ) -> None:
        self.is_closing = False
        self._host = host
        self._bounds = shared.bounds
        self._ours = ours
        self._is_full = is_full
        self._has_said = False
        place = host.standing.stored
        self.transcript = Transcript(shared, host.id, host.options, self, place, last)

    @property
    def committed(self) -> int:
        """See `ChunkReceived`."""
        return self._host.standing.stored.next_chunk - 1

    def take(self, chunk: AudioChunk) -> ChunkReceived:
        """A chunk has come.

        Raises:
            ClientError: it cannot be served.
            AtCapacity: there is no room for it now.
        """
        most = self._bounds.chunk_bytes
        if self.is_closing:
            raise StateConflict("session_ended", "This session is ending: begin a new one.")
        if len(chunk.data) > most:
            raise MalformedEvent(
                "chunk_too_large",
                f"A chunk may have {most} bytes, and this one has {len(chunk.data)}.",
                remedy="Send it in smaller chunks.",
                param="audio_data",
            )
        held = self.transcript.held_bytes
        arrival = self.transcript.take(
            chunk, 0 if self._is_full() else self._bounds.buffer_bytes - held
        )
        if arrival.missing is not None:
            self._host.tell(ChunksMissing(*arrival.missing))
        return ChunkReceived(
            f"chunk_{self._host.id[-8:]}_{arrival.index}",
            arrival.index,
            len(chunk.data),
            chunk.is_final,
            arrival.is_new,
            self.transcript.received,
            self.committed,
        )

    def reset(self) -> None:
        """Forget what waits."""
        self.transcript.reset()
        self._has_said = False

    # --- for the transcript ---
    def part(self, part: Part) -> None:
        """See `transcript.Desk`."""
        text = part.segment.text
        self._has_said = True
        item_id = self._ours.new_id("item")
        self._ours.history.user_said(item_id, text)
        notice = Transcribed(
            self._host.next_number(),
            item_id,
            text,
            part.language or self._host.options.language,
            part.confidence,
            part.start_ms,
            part.end_ms,
            part.segment.words,
            part.first_chunk,
            part.last_chunk,
            part.segment.ends_utterance,
            part.place.next_chunk - 1,
        )
        self._host.store(notice, part.place)

    def gap(self, gap: Gap) -> None:
        """See `transcript.Desk`."""
        number = self._host.next_number()
        span = (gap.first_chunk, gap.last_chunk, gap.start_ms, gap.end_ms)
        self._host.store(GapMarked(number, self._ours.new_id("gap"), *span, gap.reason), gap.place)

    def now(self, now: Now) -> None:
        """See `transcript.Desk`."""
        if now.agreed or now.tentative:
            self._ours.stop("interrupted", answers_only=True)
        span = (now.start_ms, now.end_ms, now.first_chunk, now.last_chunk)
        self._host.tell(Partial(now.agreed, now.tentative, self._host.options.language, *span))

    def utterance_over(self) -> None:
        """See `transcript.Desk`."""
        has_said, self._has_said = self._has_said, False
        if has_said and self._host.options.answers:
            self._ours.stop("interrupted", answers_only=True)
            try:
                self._ours.answer()
            except AtCapacity as error:
                self._host.tell(StreamProblem(error))

    def chunk_failed(self, error: DuologueError, index: int) -> None:
        """See `transcript.Desk`."""
        self._host.tell(StreamProblem(error, index))

    def sound(self, pcm: bytes, start: int) -> None:
        """See `transcript.Desk`."""
        if self._host.options.records:
            self._ours.recorder.user(pcm, start)
