"""Streaming sessions from Python, without a server: `from duologue.service import StreamingService`.

    async with StreamingService() as service:
        session = await service.create_session(language="en")
        async with session.listen() as events:
            await session.send(pcm, is_final=True)
            async for event in events:
                ...                                  # core.streaming's notices: Transcribed, Spoken, ...

It is the same desk, engines and store as the server's.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from duologue.app import streaming
from duologue.app.house import House, build
from duologue.core.errors import OurError, only_ours
from duologue.core.records import ItemRecord
from duologue.core.streaming import (
    AudioChunk,
    ChunkReceived,
    Configure,
    Reset,
    SoundFormat,
    SpeechQueued,
    StopSpeaking,
    StreamEnded,
    StreamNotice,
    StreamStats,
    TextRequest,
)
from duologue.session.streaming.desk import StreamDesk
from duologue.session.streaming.session import StreamSession
from duologue.settings import load

MAX_EVENTS = 4_096
"""That wait for who listens; then the oldest leave (`Events.lost` counts them)."""


class Events:
    """What a session tells, from when it was asked for. To be iterated; ends with the session.

    Attributes:
        lost: notices that left unread.
    """

    def __init__(self) -> None:
        self.lost = 0
        self._queue: asyncio.Queue[StreamNotice] = asyncio.Queue(MAX_EVENTS)

    def put(self, notice: StreamNotice) -> None:
        """One more."""
        if self._queue.full():
            self._queue.get_nowait()
            self.lost += 1
        self._queue.put_nowait(notice)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamNotice:
        notice = await self._queue.get()
        if isinstance(notice, StreamEnded):
            raise StopAsyncIteration
        return notice


class Session:
    """One session. See `session.streaming.session`."""

    def __init__(self, service: "StreamingService", session: StreamSession, token: str) -> None:
        self.id = session.id
        self.resume_token = token
        self._service = service
        self._session = session

    async def send(
        self,
        data: bytes,
        *,
        index: int | None = None,
        is_final: bool = False,
        format: SoundFormat = "",  # noqa: A002 - the field's own word
        rate_hz: int = 0,
    ) -> ChunkReceived:
        """A chunk of sound: samples (16-bit, mono), or a file of any format that FFmpeg reads, or a piece of one.

        Raises:
            ClientError: it cannot be served.
            AtCapacity: too much waits to be transcribed; send it again later.
        """
        return await self._session.receive(AudioChunk(data, index, is_final, format, rate_hz))

    async def say(self, text: str, *, language: str = "", voice: str = "") -> SpeechQueued:
        """Have a text spoken: the sound comes as `Spoken`.

        Raises:
            ClientError: there is nothing to say, or too much.
            AtCapacity: too many texts wait.
        """
        return await self._session.ask_text(TextRequest(text, language, voice))

    async def write(self, text: str) -> SpeechQueued:
        """Say something to the language model in writing; its answer comes as `Spoken`.

        Raises:
            ClientError: there is nothing to say, or too much.
            AtCapacity: too many texts wait.
        """
        return await self._session.ask_text(TextRequest(text, answers=True))

    def configure(self, **changes: Any) -> None:
        """Change settings from the next utterance on: see `core.streaming.Configure`. What is wrong is told as a
        `StreamProblem`."""
        self._session.ask(Configure(**changes))

    def stop(self) -> None:
        """Say no more of what is being said."""
        self._session.ask(StopSpeaking())

    def reset(self) -> None:
        """Begin a new conversation."""
        self._session.ask(Reset())

    def stats(self) -> StreamStats:
        """How it stands."""
        return self._session.stats()

    @asynccontextmanager
    async def listen(self, after: int | None = None) -> AsyncIterator[Events]:
        """What it tells from now on; before that, what has a number above `after`."""
        events = Events()
        seat = await self._session.join(events.put, token=self.resume_token, after=after)
        try:
            yield events
        finally:
            seat.leave()

    async def transcript(self) -> list[ItemRecord]:
        """All that was said, as the store has it."""
        records: list[ItemRecord] = []
        while True:
            after = records[-1].number if records else 0
            more = await self._service.desk.records(self.id, "", after=after)
            if not more:
                return records
            records += more

    async def close(self) -> None:
        """End it for good; the store keeps it."""
        await self._service.desk.end(self.id, "")


class StreamingService:
    """Engines, loaded and warm, and the sessions on them.

    Args:
        model_size: of Whisper ("tiny", "base", "small", …; needs the extra [whisper] and its files); empty for what
            the settings say, which is the embedded recogniser if they say nothing.
        num_workers: windows, and texts, that are worked on at a time; None for what the settings say.
        settings: any of `settings.Settings`, by name; they win over the environment and duologue.toml.

    Raises:
        SetupError: a setting that cannot be.
    """

    def __init__(
        self, model_size: str = "", num_workers: int | None = None, **settings: Any
    ) -> None:
        if model_size:
            settings.setdefault("stt", f"whisper:{model_size}")
        if num_workers is not None:
            settings["num_workers"] = num_workers
        self._settings = load(settings)
        self._house: House | None = None
        self._task: asyncio.Task[None] | None = None
        self._owner: asyncio.TaskGroup | None = None

    async def __aenter__(self) -> Self:
        """Load the engines and run them once.

        Raises:
            DuologueError: one that is asked for cannot be used here; the remedy says what is missing.
        """
        house = self._house = build(self._settings)
        ready = asyncio.Event()
        owner = self._owner = asyncio.TaskGroup()
        await owner.__aenter__()
        self._task = owner.create_task(house.run(ready.set), name="duologue")
        try:
            await ready.wait()  # cancelled by its group if the house cannot be brought up
        except asyncio.CancelledError as error:
            await self._give_up(owner, error)
            raise
        return self

    async def _give_up(self, owner: asyncio.TaskGroup, cancelled: asyncio.CancelledError) -> None:
        """Raise why it cannot be brought up, if that is why we do not wait any more."""
        self._task = self._owner = self._house = None
        try:
            await owner.__aexit__(type(cancelled), cancelled, cancelled.__traceback__)
        except BaseExceptionGroup as group:
            if (error := only_ours(group)) is None:
                raise
            raise error from None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the engines; the sessions are in the store."""
        if self._task is not None and self._owner is not None:
            self._task.cancel()
            await self._owner.__aexit__(kind, error, trace)
        self._task = self._owner = self._house = None

    @property
    def desk(self) -> StreamDesk:
        """All the sessions."""
        if self._house is None:
            raise OurError("service_not_open", "Use it as `async with StreamingService() as …`.")
        return self._house.streams

    async def create_session(self, language: str = "auto", **options: Any) -> Session:
        """A new session. `options`: see `core.streaming.StreamOptions`.

        Raises:
            ClientError: no engine here serves the language; the remedy says what would add it.
        """
        given = replace(
            streaming.default_options(self._settings),
            language="" if language == "auto" else language,
            **options,
        )
        session, token = await self.desk.create("", given)
        return Session(self, session, token)

    async def resume_session(self, session_id: str, resume_token: str = "") -> Session:
        """A session that was begun earlier, also by another process on the same store.

        Raises:
            StateConflict: there is none, or it is over.
        """
        return Session(self, await self.desk.find(session_id, ""), resume_token)
