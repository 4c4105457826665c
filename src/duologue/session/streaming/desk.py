"""All streaming sessions of a process: made, found, brought back from the store, and ended when it is time."""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from duologue.core.errors import AtCapacity, DuologueError, StateConflict
from duologue.core.records import ItemRecord, SessionRecord
from duologue.core.streaming import StreamOptions
from duologue.session.streaming.history import MAX_ITEMS
from duologue.session.streaming.session import StreamSession, Why
from duologue.session.streaming.shared import Restored, Shared
from duologue.session.streaming.standing import options_of
from duologue.session.streaming.workers import Load

log = logging.getLogger("duologue.streaming")

TICK_S = 0.5
"""How often it is looked whether chunks are missing for too long, or sessions are over."""


@dataclass(frozen=True, slots=True)
class Overview:
    """How the whole stands.

    Attributes:
        total_sessions: since the start.
        active: names of those that are open.
    """

    total_sessions: int
    active: tuple[str, ...]
    is_initialized: bool
    transcription: Load
    tts: Load
    cache_bytes: int
    cache_hits: int
    held_bytes: int


class StreamDesk:
    """See the module.

    Attributes:
        is_open: engines are loaded and have run; before, and on the way down, no session is made.
    """

    def __init__(self, shared: Shared) -> None:
        self.is_open = False
        self.shared = shared
        self._sessions: dict[str, StreamSession] = {}
        self._being_found: dict[str, asyncio.Event] = {}
        self._ending: set[str] = set()
        self._total = 0
        self._tasks: asyncio.TaskGroup | None = None
        self._owners: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Own the sessions until cancelled; then those that are open can be brought back by the next process."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                while True:
                    await asyncio.sleep(TICK_S)
                    self.tick(self.shared.clock())
        finally:
            self._tasks = None
            for session in list(self._sessions.values()):
                self._over(session, "server")

    def tick(self, now_ms: float) -> None:
        """Time passes."""
        for session in list(self._sessions.values()):
            try:
                why = session.tick(now_ms)
            except Exception as error:  # noqa: BLE001 - the outer wall of a session: the others live on
                self._broke_down(session, error)
                continue
            if why is not None and session.id not in self._ending and self._tasks is not None:
                self._ending.add(session.id)
                self._tasks.create_task(self._wind_up(session, why), name=f"{session.id}-ending")

    # --- sessions ---
    async def create(self, owner: str, options: StreamOptions) -> tuple[StreamSession, str]:
        """A new session, and the token by which it is joined again.

        Raises:
            ClientError: no engine here can serve these settings.
            AtCapacity: there are as many as there may be.
            OurError: it cannot be stored.
        """
        self._admit()
        self.shared.check(options)
        session = StreamSession(self.shared, f"ss_{secrets.token_hex(12)}", owner, options)
        token = session.standing.new_token()
        try:
            await session.write()
            self._admit()
        except BaseException:
            session.discard()
            raise
        self._total += 1
        self._own(session)
        return session, token

    async def find(self, session_id: str, owner: str) -> StreamSession:
        """A session that is open, or can be brought back from the store.

        Raises:
            StateConflict: there is none, or it is over.
            AtCapacity: it could be brought back, but there is no room.
        """
        while (being_found := self._being_found.get(session_id)) is not None:
            await being_found.wait()
        session = self._sessions.get(session_id)
        if session is not None:
            return _of(session, owner)
        self._being_found[session_id] = found = asyncio.Event()
        try:
            return await self._restore(session_id, owner)
        finally:
            del self._being_found[session_id]
            found.set()

    def live(self, owner: str) -> list[StreamSession]:
        """Those that are open."""
        return [session for session in self._sessions.values() if session.owner == owner]

    async def end(self, session_id: str, owner: str) -> None:
        """End a session for good, once what it was sent is transcribed; the store keeps it.

        Raises:
            StateConflict: there is none, or it is over.
        """
        await self._wind_up(await self.find(session_id, owner), "deleted")

    async def erase(self, session_id: str, owner: str) -> None:
        """End it, and have the store forget it.

        Raises:
            StateConflict: there is none.
        """
        await self._known(session_id, owner)
        session = self._sessions.get(session_id)
        if session is not None:
            self._over(session, "deleted")
        await self.shared.archive.erase(session_id)

    async def records(
        self, session_id: str, owner: str, *, after: int = 0, limit: int = 1_000
    ) -> Sequence[ItemRecord]:
        """The items of any session that the store has.

        Raises:
            StateConflict: there is none.
        """
        await self._known(session_id, owner)
        return await self.shared.archive.items(session_id, after=after, limit=limit)

    # --- the whole ---
    def overview(self) -> Overview:
        """How the whole stands."""
        speech = self.shared.speech
        return Overview(
            self._total,
            tuple(self._sessions),
            self.is_open,
            self.shared.listeners.load,
            speech.workers.load,
            speech.cache.bytes,
            speech.cache.hits,
            sum(session.held_bytes for session in self._sessions.values()),
        )

    def set_workers(self, *, transcription: int | None = None, tts: int | None = None) -> None:
        """So many at a time from now on.

        Raises:
            StateConflict: it cannot be.
        """
        if transcription is not None:
            self.shared.listeners.set_number(transcription)
        if tts is not None:
            self.shared.speech.workers.set_number(tts)

    # --- how ---
    def _admit(self) -> None:
        if not self.is_open or self._tasks is None:
            raise AtCapacity("not_ready", "The engines are still being loaded.")
        if len(self._sessions) >= self.shared.bounds.sessions:
            self.shared.meters.counts["sessions_refused"] += 1
            message = (
                f"All {self.shared.bounds.sessions} streaming sessions of this server are taken."
            )
            raise AtCapacity("session_limit_reached", message, remedy="Come back later.")

    async def _restore(self, session_id: str, owner: str) -> StreamSession:
        record = await self._known(session_id, owner)
        if record.ended_s is not None or record.expires_s <= self.shared.wall_s():
            raise StateConflict("session_ended", "This session is over: begin a new one.")
        self._admit()
        items = await self.shared.archive.last_items(session_id, MAX_ITEMS)
        restored = Restored(record, items)
        session = StreamSession(
            self.shared, session_id, record.owner, options_of(record), restored=restored
        )
        log.info("< %s: was brought back from the store", session_id)
        self.shared.meters.counts["sessions_restored"] += 1
        self._own(session)
        return session

    async def _known(self, session_id: str, owner: str) -> SessionRecord:
        record = await self.shared.archive.session(session_id)
        if record is None or record.kind != "streaming" or record.owner != owner:
            raise _unknown()
        return record

    def _own(self, session: StreamSession) -> None:
        assert self._tasks is not None
        self._sessions[session.id] = session
        self._owners[session.id] = self._tasks.create_task(self._hold(session), name=session.id)
        self.shared.meters.counts["stream_sessions"] += 1

    async def _hold(self, session: StreamSession) -> None:
        try:
            await session.run()
        except Exception as error:  # noqa: BLE001 - the outer wall of a session: the others live on
            self._broke_down(session, error)

    async def _wind_up(self, session: StreamSession, why: Why) -> None:
        try:
            await session.wind_up()
        except Exception as error:  # noqa: BLE001 - the outer wall of a session: the others live on
            self._broke_down(session, error)
        else:
            self._over(session, why)

    def _broke_down(self, session: StreamSession, error: Exception) -> None:
        known = isinstance(error, DuologueError)
        about = "" if known else " (a bug)"
        log.error("! %s: the session broke down%s", session.id, about, exc_info=error)
        self.shared.meters.counts["sessions_failed"] += 1
        self._over(session, "failed")

    def _over(self, session: StreamSession, why: Why) -> None:
        self._ending.discard(session.id)
        if self._sessions.pop(session.id, None) is None:
            return
        session.end(why)
        owner = self._owners.pop(session.id)
        if owner is not asyncio.current_task():
            owner.cancel()


def _of(session: StreamSession, owner: str) -> StreamSession:
    if session.owner != owner:
        raise _unknown()
    return session


def _unknown() -> StateConflict:
    return StateConflict("session_not_found", "There is no such session.", param="session_id")
