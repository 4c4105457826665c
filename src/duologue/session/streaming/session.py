"""One session of the plain API: chunks in, transcripts out; texts in, sound out; and what of it can be told again.

    chunks -> intake -> gate -> listening -> transcript -> shelf (stored, then told)
    texts and finished utterances -> replies -> shelf

Everything but engines, decoders and the store happens at once, on the event loop; `run` owns what waits.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Literal

from duologue.core.errors import (
    AtCapacity,
    ClientError,
    StateConflict,
)
from duologue.core.records import ItemRecord
from duologue.core.streaming import (
    AskStats,
    AudioChunk,
    ChunkReceived,
    Configure,
    Configured,
    Joined,
    Lasting,
    Ping,
    PlayedSoFar,
    Pong,
    Renew,
    Renewed,
    Reset,
    ResetDone,
    SpeechQueued,
    SpeechStopped,
    StatsTold,
    StopSpeaking,
    StreamCommand,
    StreamEnded,
    StreamNotice,
    StreamOptions,
    StreamProblem,
    StreamStats,
    TextRequest,
)
from duologue.session.streaming.our_side import OurSide
from duologue.session.streaming.overlap import last_word
from duologue.session.streaming.seats import Seat, Seats, Tell
from duologue.session.streaming.shared import Restored, Shared
from duologue.session.streaming.shelf import Shelf, record_of
from duologue.session.streaming.standing import Standing
from duologue.session.streaming.their_side import TheirSide
from duologue.session.streaming.transcript import Place

log = logging.getLogger("duologue.streaming")

WIND_UP_S = 10.0
"""How long what came last may still take when a session ends: some windows, behind those of others."""

LOOK_S = 0.02

Why = Literal["deleted", "idle", "too_long", "server", "failed"]


class StreamSession:
    """See the module.

    Args:
        key: of the API whose session it is; empty where none is asked for.
        restored: what the store has of it, if it was there before.

    Attributes:
        ended: why it is over; None while it is not.
    """

    def __init__(
        self,
        shared: Shared,
        session_id: str,
        owner: str,
        options: StreamOptions,
        *,
        restored: Restored | None = None,
    ) -> None:
        self.id = session_id
        self.owner = owner
        self.options = options
        self.ended: Why | None = None
        self._shared = shared
        record = restored.record if restored is not None else None
        self.standing = Standing(
            session_id, owner, shared.archive, shared.bounds, shared.wall_s, record
        )
        self._seats = Seats(self, shared.bounds.seats)
        self._ours = OurSide(self, shared)
        number, last = 0, None
        self._broken_off: Sequence[
            ItemRecord
        ] = ()  # parts of what was being said when the server was killed
        if restored is not None:
            last = last_word(restored.items, self.standing.stored.position)
            number = restored.items[-1].number if restored.items else 0
            self._ours.history.restore(restored.items)
            self._broken_off = self._ours.history.broken_off(restored.items)
            if self._broken_off:
                shared.archive.write(*self._broken_off)
        self._shelf = Shelf(shared.archive, session_id, self._seats.tell, number)
        self._was_here = restored is not None
        self._era = 0  # since the last reset: places of before it mean nothing
        self._theirs = TheirSide(self, shared, self._ours, lambda: self._shelf.is_full, last)
        self._transcript = self._theirs.transcript

    # --- coming and going ---
    async def join(self, tell: Tell, *, token: str = "", after: int | None = None) -> Seat:
        """One more listener: told `Joined`, what it missed after that number, and then what is new.

        Raises:
            StateConflict: the token is wrong, or missing where it is needed; or too many listen.
        """
        if token and not self.standing.is_token(token):
            raise StateConflict(
                "resume_token_wrong",
                "This is not the session's resume token.",
                param="resume_token",
            )
        if self.options.needs_token and not token:
            raise StateConflict(
                "resume_token_required",
                "This session can only be joined with its resume token.",
                param="resume_token",
            )
        self._check()
        self.standing.touch()
        seat = self._seats.take(tell)
        try:
            missed: list[Lasting] = []
            complete = True
            if after is not None:
                missed, complete = await self._shelf.since(after)
            if seat not in self._seats:
                raise StateConflict(
                    "too_slow", "More was told meanwhile than can be kept: come again."
                )
        except BaseException:
            seat.leave()
            raise
        was_here, self._was_here = self._was_here, True
        stored = self.standing.stored
        next_chunk, part_ms = self._transcript.received + 1, 0
        if next_chunk <= stored.next_chunk:
            next_chunk, part_ms = stored.next_chunk, stored.next_chunk_ms
        joined = Joined(
            self.id,
            "",
            next_chunk,
            part_ms,
            self._shelf.told,
            complete,
            was_here,
            self.standing.expires_s,
            self.options,
        )
        seat.catch_up(joined, missed)
        if self._broken_off and after is not None:
            response_id = str(self._broken_off[0].body["response_id"])
            text = "".join(part.text for part in self._broken_off)
            lasted_ms = sum(int(part.body["duration_ms"]) for part in self._broken_off)
            seat.hear(SpeechStopped(response_id, lasted_ms, text, "failed"))
        return seat

    async def write(self) -> None:
        """Write what it is; before that, nobody should be told of it.

        Raises:
            OurError: it cannot be written.
        """
        await self._shared.archive.write(self.standing.record(self.options))

    def discard(self) -> None:
        """It was never begun."""
        self._transcript.close()

    async def run(self) -> None:
        """Own what waits, until it is over."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._transcript.run(), name=f"{self.id}-listening")
                tasks.create_task(self._ours.replies.run(), name=f"{self.id}-speaking")
        finally:
            self._transcript.close()

    async def wind_up(self) -> None:
        """Take no more sound, and wait until what came is transcribed, `WIND_UP_S` at most."""
        self._theirs.is_closing = True
        self._transcript.finish()
        waited_s = 0.0
        while (
            not (self._transcript.is_idle and not self._shelf.is_waiting) and waited_s < WIND_UP_S
        ):
            await asyncio.sleep(LOOK_S)
            waited_s += LOOK_S
        self._transcript.give_up()

    def end(self, why: Why) -> None:
        """It is over. Where the server goes down, nobody is told: it can be brought back."""
        if self.ended is not None:
            return
        self.ended = why
        self._ours.close()
        if why != "server":
            self.standing.ended_s = self._shared.wall_s()
        self._shared.archive.write(self.standing.record(self.options))
        if why != "server":
            self._shelf.when_told(lambda: self._seats.tell(StreamEnded(why)))

    def tick(self, now_ms: float) -> Why | None:
        """Time passes; why the session should end, if it should."""
        self._transcript.tick(now_ms)
        if not self._shelf.is_waiting and self.standing.is_due(place := self._transcript.place):
            self._write_place(place)
        if self.standing.is_too_long():
            return "too_long"
        return "idle" if self.standing.is_idle() else None

    # --- what is asked ---
    def ask(self, command: StreamCommand) -> None:
        """What comes of it is told to all."""
        self.answer(command, self._seats.tell)

    async def receive(self, chunk: AudioChunk) -> ChunkReceived:
        """A chunk of sound.

        Raises:
            ClientError: it cannot be served.
            AtCapacity: there is no room for it now.
        """
        self.standing.touch()
        self._check()
        return self._theirs.take(chunk)

    async def ask_text(self, request: TextRequest) -> SpeechQueued:
        """A text to be said or answered.

        Raises:
            ClientError: there is nothing to say, or too much.
            AtCapacity: too many wait.
        """
        self.standing.touch()
        self._check()
        return self._ours.say(request)

    def _check(self) -> None:
        if self.ended is not None:
            raise StateConflict("session_ended", "This session is over: begin a new one.")

    def answer(self, command: StreamCommand, tell: Tell) -> None:
        """See `seats.Host`."""
        if self.ended is not None:
            return
        self.standing.touch()
        try:
            self._do(command, tell)
        except (ClientError, AtCapacity) as error:
            index = command.index if isinstance(command, AudioChunk) else None
            request_id = command.request_id if isinstance(command, TextRequest) else ""
            tell(StreamProblem(error, -1 if index is None else index, request_id))

    def _do(self, command: StreamCommand, tell: Tell) -> None:
        match command:
            case AudioChunk():
                tell(self._theirs.take(command))
            case TextRequest():
                self._seats.tell(self._ours.say(command))
            case AskStats():
                tell(StatsTold(self.stats()))
            case Ping():
                tell(Pong())
            case PlayedSoFar(response_id=response_id, played_ms=played_ms):
                self._ours.played(response_id, played_ms)
            case StopSpeaking():
                self._ours.stop("stopped")
            case Reset() | Configure() | Renew():
                self._change(command)

    def _change(self, command: Reset | Configure | Renew) -> None:
        match command:
            case Reset():
                self._reset()
            case Configure():
                self._configure(command)
            case Renew():
                self.standing.renew()
                self._shared.archive.write(self.standing.record(self.options))
                self._seats.tell(Renewed(self.standing.expires_s))

    def stats(self) -> StreamStats:
        """How it stands."""
        transcript = self._transcript
        return StreamStats(
            session_id=self.id,
            created_s=self.standing.created_s,
            active_s=self.standing.active_s,
            expires_s=self.standing.expires_s,
            is_active=self.ended is None,
            language=self.options.language,
            conversation_entries=self._ours.history.entries,
            buffer_chunks=transcript.held_chunks,
            buffer_size=transcript.held_bytes,
            pending_transcriptions=transcript.pending,
            pending_responses=self._ours.replies.pending,
            received=transcript.received,
            committed=self._theirs.committed,
            last_number=self._shelf.told,
            heard_s=transcript.heard_s,
            more={"listeners": len(self._seats), "held_bytes": self.held_bytes},
        )

    @property
    def held_bytes(self) -> int:
        """Sound that it holds, of both sides."""
        return (
            self._transcript.held_bytes
            + self._ours.replies.held_bytes
            + self._shelf.held_bytes
            + self._ours.recorder.held_bytes
        )

    # --- for our side ---
    def tell(self, notice: StreamNotice) -> None:
        """See `our_side.Host`."""
        self._seats.tell(notice)

    def next_number(self) -> int:
        """See `our_side.Host`."""
        return self._shelf.next_number()

    def revise(self, records: Sequence[ItemRecord]) -> None:
        """See `our_side.Host`."""
        self._shelf.revise(records)

    @property
    def heard_ms(self) -> int:
        """See `our_side.Host`."""
        return int(self._transcript.heard_s * 1000)

    # --- the rest ---
    def _reset(self) -> None:
        self._ours.stop("reset")
        self._era += 1
        self._theirs.reset()
        self._ours.history.forget()
        self.standing.begin_again(self._transcript.place.position)
        self._shared.archive.write(self.standing.record(self.options))
        self._seats.tell(ResetDone())

    def _configure(self, command: Configure) -> None:
        given = {name: value for name, value in asdict(command).items() if value is not None}
        options = replace(self.options, **given)
        self._shared.check(options)
        self.options = options
        self._transcript.set_options(self.options)
        if not options.records:
            self._ours.recorder.flush()
        self._shared.archive.write(self.standing.record(self.options))
        self._seats.tell(Configured(self.options))

    # --- the store ---
    def store(self, notice: Lasting, place: Place | None = None) -> ItemRecord:
        """Store what is told for good, and with it where the sound stands; then it is told."""
        record = record_of(self.id, notice, self._shared.wall_s())

        era = self._era

        def stored(is_stored: bool) -> None:  # noqa: FBT001 - called by the shelf alone
            if place is not None and is_stored and era == self._era:
                self._is_stored(place)

        session = self.standing.record(self.options, place)
        self._shelf.put(notice, record, session, stored=stored)
        return record

    def _write_place(self, place: Place) -> None:
        era = self._era

        def written(future: "asyncio.Future[None]") -> None:
            is_written = not future.cancelled() and future.exception() is None
            if is_written and era == self._era:
                self._is_stored(place)

        session = self.standing.record(self.options, place)
        self._shared.archive.write(session).add_done_callback(written)

    def _is_stored(self, place: Place) -> None:
        self.standing.is_stored(place)
        self._transcript.forget_before(self.standing.stored.next_chunk)
