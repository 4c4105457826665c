"""The listening side of a session: from chunks to parts of the transcript, each with its chunks and its place."""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import Protocol

from duologue.core.audio import SAMPLE_BYTES, ms_to_samples, samples_to_ms
from duologue.core.chunks import Arrival, Lost
from duologue.core.errors import DuologueError
from duologue.core.longform import LongFormPolicy
from duologue.core.segments import Segment, Segments
from duologue.core.streaming import AudioChunk, SoundFormat, StreamOptions
from duologue.core.words import Word
from duologue.session.streaming.gate import Gate
from duologue.session.streaming.intake import Intake
from duologue.session.streaming.listening import Listening, PassedOver, Understood
from duologue.session.streaming.native import NativeListening
from duologue.session.streaming.overlap import HeardAgain, place_between
from duologue.session.streaming.shared import Shared
from duologue.session.streaming.windowed import WindowedListening

log = logging.getLogger("duologue.streaming")


@dataclass(frozen=True, slots=True)
class Place:
    """Up to where all is transcribed: what a client need not send again.

    Attributes:
        next_chunk: the first that has sound after it, of which `next_chunk_ms` lie before.
        position: in samples on the session's clock.
        sound: what the chunks have been: pieces of a file make no sense as samples.
    """

    next_chunk: int = 0
    next_chunk_ms: int = 0
    position: int = 0
    sound: SoundFormat = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the transcript, and where it lies."""

    segment: Segment
    language: str
    confidence: float | None
    first_chunk: int
    last_chunk: int
    place: Place

    @property
    def start_ms(self) -> int:
        """On the session's clock."""
        return self.segment.words[0].start_ms

    @property
    def end_ms(self) -> int:
        """Likewise."""
        return self.segment.words[-1].end_ms


@dataclass(frozen=True, slots=True)
class Gap:
    """Sound that is missing."""

    first_chunk: int
    last_chunk: int
    start_ms: int
    end_ms: int
    reason: str
    place: Place


@dataclass(frozen=True, slots=True)
class Now:
    """The present utterance."""

    agreed: str
    tentative: str
    start_ms: int
    end_ms: int
    first_chunk: int
    last_chunk: int


class Desk(Protocol):
    """Who is told."""

    def part(self, part: Part) -> None:
        """A part is done."""

    def gap(self, gap: Gap) -> None:
        """Sound is missing."""

    def now(self, now: Now) -> None:
        """The present utterance has changed."""

    def utterance_over(self) -> None:
        """It is over; its parts were told."""

    def chunk_failed(self, error: DuologueError, index: int) -> None:
        """A chunk was no sound."""

    def sound(self, pcm: bytes, start: int) -> None:
        """Sound that is listened to, for who records it."""


class Transcript:
    """One session's. Whoever owns it runs it as a task.

    Args:
        key: the session's name.
        place: where it begins.
        last: the last word that was told, if it lies after that.
    """

    def __init__(
        self,
        shared: Shared,
        key: str,
        options: StreamOptions,
        desk: Desk,
        place: Place,
        last: Word | None = None,
    ) -> None:
        self._shared = shared
        self._key = key
        self._desk = desk
        self._options = options
        self._begin(place, last)
        self._intake = Intake(
            partial(shared.make_decoder, options.rate_hz, place.sound),
            self,
            shared.clock,
            self._has_room,
            next_index=place.next_chunk,
            start=place.position - ms_to_samples(place.next_chunk_ms),
            skip_ms=place.next_chunk_ms,
        )
        self._restart = asyncio.Event()

    def _begin(self, place: Place, last: Word | None = None) -> None:
        """A listener of the kind that is there now; what one before it still reports is of no concern."""
        self._era = object()
        self._segments = Segments()
        self._last = last  # that was told
        self._again = HeardAgain(last) if last is not None else None
        self._place = place
        self._gaps: deque[tuple[int, Gap]] = deque()  # that words before them are waited for
        self._heard = place.position
        self._told = False
        self._listening = self._listener(place.position)
        self._listening.set_language(self._options.language)
        self._gate = Gate(
            self._shared.hearing, self, withholds=self._options.vad, start=place.position
        )

    def _listener(self, start: int) -> Listening:
        shared, options, era = self._shared, self._options, self._era

        def report(what: Understood | PassedOver) -> None:
            if era is self._era:
                self._report(what)

        preferred = next(iter(shared.recognisers()), None)
        if preferred is None or preferred.streaming:
            return NativeListening(shared.pool, self._key, report, start=start)
        policy = LongFormPolicy(window_ms=options.window_ms, overlap_ms=options.overlap_ms)
        return WindowedListening(
            shared.pool, self._key, shared.listeners, policy, report, start=start
        )

    # --- what is asked ---
    @property
    def received(self) -> int:
        """See `ChunkReceived`."""
        return self._intake.received

    @property
    def held_chunks(self) -> int:
        """That wait to be listened to."""
        return self._intake.held_chunks

    @property
    def held_bytes(self) -> int:
        """Sound of which nothing has come yet, in all its stages."""
        return self._intake.held_bytes + self._gate.held_bytes + self._listening.held_bytes

    @property
    def pending(self) -> int:
        """Pieces of work that wait or are being done."""
        return self._listening.pending

    @property
    def heard_s(self) -> float:
        """Sound that was taken, in seconds."""
        return self._heard / 16_000

    @property
    def place(self) -> Place:
        """Up to where all is transcribed and told to the desk."""
        return self._place_at(self._settled())

    def set_options(self, options: StreamOptions) -> None:
        """From the next utterance on."""
        self._options = options
        self._listening.set_language(options.language)
        self._gate.withholds = options.vad

    def _has_room(self) -> bool:
        held = self._gate.held_bytes + self._listening.held_bytes
        return held < self._shared.bounds.buffer_bytes

    # --- in ---
    def take(self, chunk: AudioChunk, room: int) -> Arrival:
        """See `Intake.take`."""
        return self._intake.take(chunk, room)

    def tick(self, now_ms: float) -> None:
        """Time passes."""
        self._intake.tick(now_ms)

    def finish(self) -> None:
        """Nothing more comes: wait for no chunk that is missing, and let the utterance end."""
        self._intake.finish()

    def give_up(self) -> None:
        """What has not been understood by now never will be."""
        self._flush()
        self._tell_gaps(at_once=True)
        if self._listening.held_bytes or self._gate.is_waiting or self._intake.held_chunks:
            start = self._place.position
            span = (samples_to_ms(start), samples_to_ms(self._heard))
            chunks = (self._intake.at(start), self._intake.received)
            self._desk.gap(Gap(*chunks, *span, "session_ended", self._place))

    @property
    def is_idle(self) -> bool:
        """Of all that came something has come, or never will."""
        waits = self._intake.held_chunks or self._gate.is_waiting
        return not (waits or self._listening.held_bytes or self._listening.pending)

    def forget_before(self, index: int) -> None:
        """These chunks are stored."""
        self._intake.forget_before(index)

    def reset(self) -> None:
        """Forget what waits; the clock goes on, and chunks count from 0 again."""
        self._intake.reset()
        self._gate.close()
        self._begin(Place(0, 0, self._heard))
        self._restart.set()

    def close(self) -> None:
        """Nothing more comes."""
        self._gate.close()

    async def run(self) -> None:
        """Own what waits, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._intake.run(), name="streaming-intake")
            while True:
                listening = tasks.create_task(self._listening.run(), name="streaming-listening")
                await self._restart.wait()
                self._restart.clear()
                listening.cancel()

    # --- for the intake ---
    def heard(self, pcm: bytes) -> None:
        """See `intake.Sink`."""
        self._heard += len(pcm) // SAMPLE_BYTES
        self._gate.push(pcm)

    def lost(self, chunks: Lost, samples: int) -> None:
        """See `intake.Sink`."""
        start = self._heard
        self._heard += samples

        def act() -> None:
            self._gate.skip(samples)
            span = (samples_to_ms(start), samples_to_ms(start + samples))
            gap = Gap(chunks.first, chunks.last, *span, "chunks_missing", self._place)
            self._gaps.append((start, gap))
            self._tell_gaps()

        self._gate.when_passed(act)

    def utterance_over(self) -> None:
        """See `intake.Sink`."""
        self._gate.when_passed(self._gate.end_utterance)

    def chunk_failed(self, error: DuologueError, index: int) -> None:
        """See `intake.Sink`."""
        self._desk.chunk_failed(error, index)

    # --- for the gate ---
    def sound(self, pcm: bytes, start: int, probability: float) -> None:
        """See `gate.Sink`."""
        self._desk.sound(pcm, start)
        self._listening.sound(pcm, start, probability)

    def left_out(self, samples: int) -> None:
        """See `gate.Sink`."""
        self._listening.left_out(samples)

    def pause(self) -> None:
        """See `gate.Sink`."""
        self._listening.pause()

    # --- what comes of it ---
    def _report(self, what: Understood | PassedOver) -> None:
        if isinstance(what, PassedOver):
            self._flush()
            span = (samples_to_ms(what.start), samples_to_ms(what.end))
            chunks = (self._intake.at(what.start), self._intake.at(max(what.start, what.end - 1)))
            place = self._place_at(what.end)
            self._desk.gap(Gap(*chunks, *span, what.error.code, place))
            return
        done = self._segments.push(self._new(what), ended=what.ended)
        for segment, after in zip_longest(done, done[1:]):
            self._last = segment.words[-1]
            settled = (
                self._settled()
                if after is None
                else place_between(self._last, after.words[0].start_ms)
            )
            self._tell(segment, what, self._place_at(settled))
        self._tell_gaps()
        if what.ended:
            self._told = False
            self._desk.utterance_over()
        else:
            self._tell_now(what)

    def _flush(self) -> None:
        """Tell what is held: what follows it is missing."""
        about = Understood((), "", "", 0, ended=True)
        held = self._new(about)
        for segment in [*self._segments.push(held), *self._segments.take_all()]:
            self._last = segment.words[-1]
            self._tell(segment, about, self._place_at(ms_to_samples(self._last.end_ms)))

    def _tell_gaps(self, *, at_once: bool = False) -> None:
        """Tell of gaps behind the words before them."""
        while self._gaps:
            start, gap = self._gaps[0]
            is_next = self._segments.start_ms is None and (
                self._is_silent or self._listening.settled >= start
            )
            if not (is_next or at_once):
                return
            self._gaps.popleft()
            self._desk.gap(replace(gap, place=self._place_at(self._settled())))

    @property
    def _is_silent(self) -> bool:
        """Nothing waits to be understood."""
        return not (self._listening.held_bytes or self._listening.pending)

    def _new(self, what: Understood) -> tuple[Word, ...]:
        """The words that were not told before."""
        if self._again is None:
            return what.words
        words = self._again.push(what.words, what.settled_to, ended=what.ended)
        if words is not None:
            self._again = None
        return words or ()

    def _tell(self, segment: Segment, what: Understood, place: Place) -> None:
        first = self._intake.at(ms_to_samples(segment.words[0].start_ms))
        last = self._intake.at(ms_to_samples(segment.words[-1].end_ms))
        self._desk.part(Part(segment, what.language, what.confidence, first, last, place))

    def _tell_now(self, what: Understood) -> None:
        agreed = " ".join(filter(None, (self._segments.text, what.agreed)))
        if not (agreed or what.tentative or self._told):
            return
        self._told = bool(agreed or what.tentative)
        start_ms = self._segments.start_ms
        start = max(what.settled_to, self._listening.settled)
        if start_ms is not None:
            start = ms_to_samples(start_ms)
        end = self._gate.position
        chunks = (self._intake.at(start), self._intake.at(max(start, end - 1)))
        span = (samples_to_ms(start), samples_to_ms(end))
        self._desk.now(Now(agreed, what.tentative, *span, *chunks))

    def _settled(self) -> int:
        """Before this place all words are told."""
        if self._again is not None:
            is_passed = self._is_silent and self._again.is_behind(self._gate.position)
            if self._again.is_holding or not is_passed:
                return self._place.position
            self._again = None
        start_ms = self._segments.start_ms
        if start_ms is not None:
            return place_between(self._last, start_ms)
        settled = self._gate.position if self._is_silent else self._listening.settled
        return max(self._place.position, settled)

    def _place_at(self, sample: int) -> Place:
        sample = max(sample, self._place.position)
        index, before = self._intake.next_after(sample)
        self._place = Place(index, samples_to_ms(before), sample, self._intake.sound)
        return self._place
