"""A desk of streaming sessions that does what a test tells it: no engines, no store, no time."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import cast

from duologue.core.errors import AtCapacity, ClientError, DuologueError, StateConflict
from duologue.core.records import ItemRecord
from duologue.core.streaming import (
    AskStats,
    AudioChunk,
    ChunkReceived,
    Configure,
    Configured,
    Joined,
    Ping,
    Pong,
    Renew,
    Renewed,
    SpeechQueued,
    StatsTold,
    StreamCommand,
    StreamEnded,
    StreamNotice,
    StreamOptions,
    StreamProblem,
    StreamStats,
    TextRequest,
    Transcribed,
)
from duologue.session.streaming.desk import Overview, StreamDesk
from duologue.session.streaming.shared import Bounds
from duologue.session.streaming.workers import Load

EXPIRES_S = 1_800_000_000.0


def said(number: int, text: str) -> Transcribed:
    """A part of a transcript."""
    at_ms = number * 1_000
    return Transcribed(
        number=number,
        id=f"item_{number}",
        text=text,
        language="en",
        confidence=0.9,
        start_ms=at_ms,
        end_ms=at_ms + 800,
        words=(),
        first_chunk=number,
        last_chunk=number,
        ends_utterance=True,
        committed=number,
    )


class FakeSeat:
    """A listener of a fake session."""

    def __init__(self, session: "FakeSession", tell: Callable[[StreamNotice], None]) -> None:
        self.session = session
        self.tell = tell

    def ask(self, command: StreamCommand) -> None:
        """Answered at once."""
        self.session.asked.append(command)
        for notice in self.session.answers_to(command):
            self.tell(notice)

    def leave(self) -> None:
        """Hears no more."""
        self.session.seats.remove(self)


@dataclass
class FakeSession:
    """A session that keeps what it is told."""

    id: str
    owner: str
    options: StreamOptions
    seats: list[FakeSeat] = field(default_factory=list)
    asked: list[StreamCommand] = field(default_factory=list)
    told: list[Transcribed] = field(default_factory=list)
    refusal: DuologueError | None = None
    ended: str | None = None

    async def join(
        self, tell: Callable[[StreamNotice], None], *, token: str = "", after: int | None = None
    ) -> FakeSeat:
        if token not in ("", "rt_good") or (self.options.needs_token and not token):
            raise StateConflict("resume_token_wrong", "This is no token of this session.")
        seat = FakeSeat(self, tell)
        self.seats.append(seat)
        last = self.told[-1].number if self.told else 0
        tell(
            Joined(self.id, "rt_good", 0, 0, last, True, after is not None, EXPIRES_S, self.options)
        )
        for notice in self.told:
            if after is not None and notice.number > after:
                tell(notice)
        return seat

    def tell(self, notice: StreamNotice) -> None:
        """All listeners."""
        if isinstance(notice, Transcribed):
            self.told.append(notice)
        for seat in [*self.seats]:
            seat.tell(notice)

    def end(self) -> None:
        self.ended = "deleted"
        self.tell(StreamEnded("deleted"))

    async def receive(self, chunk: AudioChunk) -> ChunkReceived:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(chunk)
        index = chunk.index or 0
        return ChunkReceived("chunk_1", index, len(chunk.data), chunk.is_final, True, index, -1)

    async def ask_text(self, request: TextRequest) -> SpeechQueued:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(request)
        return SpeechQueued("resp_1", request.request_id, 0)

    def answer(self, command: StreamCommand, tell: Callable[[StreamNotice], None]) -> None:
        self.asked.append(command)
        for notice in self.answers_to(command):
            tell(notice)

    def answers_to(self, command: StreamCommand) -> Sequence[StreamNotice]:
        match command:
            case Configure():
                if command.language == "xx":
                    error = ClientError(
                        "language_not_available", "No recogniser here understands 'xx'."
                    )
                    return (StreamProblem(error),)
                given = {
                    name: value
                    for name in Configure.__dataclass_fields__
                    if (value := getattr(command, name)) is not None
                }
                self.options = replace(self.options, **given)
                return (Configured(self.options),)
            case Renew():
                return (Renewed(EXPIRES_S + 3_600),)
            case Ping():
                return (Pong(),)
            case AskStats():
                return (StatsTold(self.stats()),)
            case _:
                return ()

    def stats(self) -> StreamStats:
        return StreamStats(
            session_id=self.id,
            created_s=EXPIRES_S - 3_600,
            active_s=EXPIRES_S - 3_600,
            expires_s=EXPIRES_S,
            is_active=True,
            language=self.options.language,
            conversation_entries=0,
            buffer_chunks=0,
            buffer_size=0,
            pending_transcriptions=0,
            pending_responses=0,
            received=-1,
            committed=-1,
            last_number=0,
            heard_s=0.0,
        )


class FakeDesk:
    """Sessions by their ids; `kept` is what a store would have."""

    def __init__(self, max_sessions: int = 3, chunk_bytes: int = 2**20) -> None:
        self.shared = SimpleNamespace(bounds=Bounds(chunk_bytes=chunk_bytes))
        self.is_open = True
        self.sessions: dict[str, FakeSession] = {}
        self.kept: dict[str, tuple[str, list[ItemRecord]]] = {}
        self.workers = {"transcription": 2, "tts": 2}
        self._max_sessions = max_sessions
        self._numbers = itertools.count(1)

    async def create(self, owner: str, options: StreamOptions) -> tuple[FakeSession, str]:
        if len(self.sessions) >= self._max_sessions:
            raise AtCapacity("session_limit_reached", "All sessions of this server are taken.")
        session = FakeSession(f"strm_{next(self._numbers)}", owner, options)
        self.sessions[session.id] = session
        self.kept[session.id] = (owner, [])
        return session, "rt_good"

    async def find(self, session_id: str, owner: str) -> FakeSession:
        self._kept(session_id, owner)
        if session_id not in self.sessions:
            raise StateConflict("session_ended", "This session is over.")
        return self.sessions[session_id]

    def live(self, owner: str) -> list[FakeSession]:
        return [session for session in self.sessions.values() if session.owner == owner]

    async def end(self, session_id: str, owner: str) -> None:
        session = await self.find(session_id, owner)
        del self.sessions[session_id]
        session.end()

    async def erase(self, session_id: str, owner: str) -> None:
        self._kept(session_id, owner)
        if session_id in self.sessions:
            await self.end(session_id, owner)
        del self.kept[session_id]

    async def records(
        self, session_id: str, owner: str, *, after: int = 0, limit: int = 1_000
    ) -> Sequence[ItemRecord]:
        found = [r for r in self._kept(session_id, owner) if r.number > after]
        return found[:limit]

    def overview(self) -> Overview:
        return Overview(
            len(self.kept),
            tuple(self.sessions),
            True,
            Load(self.workers["transcription"], 0, 0, 0, 0.0, 0.0),
            Load(self.workers["tts"], 0, 0, 0, 0.0, 0.0),
            0,
            0,
            0,
        )

    def set_workers(self, *, transcription: int | None = None, tts: int | None = None) -> None:
        if transcription is not None:
            self.workers["transcription"] = transcription
        if tts is not None:
            self.workers["tts"] = tts

    def _kept(self, session_id: str, owner: str) -> list[ItemRecord]:
        found = self.kept.get(session_id)
        if found is None or found[0] != owner:
            raise StateConflict("session_not_found", "There is no such session.")
        return found[1]

    @property
    def as_desk(self) -> StreamDesk:
        """For what wants the real one."""
        return cast(StreamDesk, self)
