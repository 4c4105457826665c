"""The archive, seen from the event loop: calls are handed to the database's thread, answers come back as futures.

Reads take their turn behind the writes, on the same connection. So whatever was written before is seen, acknowledged
or not; there is one connection to be lost and found again, and a database in memory is no special case. A read waits
for the commits before it, tenths of a millisecond each.
"""

import asyncio
import logging
from asyncio import Future
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol, TypeVar

from duologue.core.errors import DuologueError, OurError
from duologue.core.records import Change, ItemRecord, SessionRecord, SoundRecord, TurnRecord
from duologue.ports import Archive
from duologue.store import statements
from duologue.store.backend import Backend, Bound, failed
from duologue.store.migrating import Row
from duologue.store.thread import Call, StoreThread

log = logging.getLogger("duologue.store")

MAX_WAITING = 4_096
"""Calls that wait for the thread; then they fail."""

MAX_WAITING_BYTES = 64 * 2**20
"""Of what waiting calls hold; one alone may be larger."""

PATIENCE_S = 30.0
"""How long a write is tried again while the database is away: a restart of PostgreSQL is shorter."""

READ_S = 10.0
"""How long a reader is kept waiting."""

DRAIN_S = 5.0
"""For what waits when it is closed."""

REMEMBERED = 512
"""Commits whose durations are remembered."""

BATCH = 200
"""Rows that one commit of housekeeping erases at most, so that conversations are written in between."""

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class StoreStats:
    """What the store has done.

    Attributes:
        written: calls that were committed.
        failed: calls that were not, overruns and reads among them.
        overruns: calls that came when too many waited.
        waiting: calls, and `waiting_bytes` what they hold.
        absences: tries that found the database away.
        commit_ms: median of the latest commits; `commit_max_ms` their longest.
    """

    written: int = 0
    failed: int = 0
    overruns: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    absences: int = 0
    commit_ms: float = 0.0
    commit_max_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Erased:
    """What the housekeeping erased."""

    sounds: int = 0
    sessions: int = 0


class Store(Archive, Protocol):
    """An archive with an owner, who starts it, closes it and keeps it tidy."""

    @property
    def stats(self) -> StoreStats:
        """As it is now."""

    async def start(self) -> None:
        """Open the database and bring its schema up to date.

        Raises:
            SetupError: it cannot be used as it is.
        """

    async def aclose(self) -> None:
        """Write what waits, then close; what takes too long fails."""

    async def erase_old(
        self, *, sounds_before_s: float | None, sessions_before_s: float | None
    ) -> Erased:
        """Erase sounds recorded, and sessions ended or expired, before these times; None for none of them."""


class DatabaseArchive:
    """The `Store` around a database.

    Args:
        patience_s: how long a call is tried again while the database is away.
        drain_s: how long `aclose` lets what waits be written, and then again for the thread to let go.
    """

    def __init__(
        self, backend: Backend, *, patience_s: float = PATIENCE_S, drain_s: float = DRAIN_S
    ) -> None:
        self._backend = backend
        self._drain_s = drain_s
        self._patience_s = patience_s
        self._thread: StoreThread | None = None
        self._waiting: set[Call] = set()
        self._waiting_bytes = 0
        self._written = 0
        self._failed = 0
        self._overruns = 0
        self._absences = 0
        self._commits_ms: deque[float] = deque(maxlen=REMEMBERED)
        self._failing = 0

    # --- the owner's side ---
    @property
    def stats(self) -> StoreStats:
        """See `Store`."""
        return StoreStats(
            written=self._written,
            failed=self._failed,
            overruns=self._overruns,
            waiting=len(self._waiting),
            waiting_bytes=self._waiting_bytes,
            absences=self._absences + (self._thread.absences if self._thread else 0),
            commit_ms=median(self._commits_ms or (0.0,)),
            commit_max_ms=max(self._commits_ms, default=0.0),
        )

    async def start(self) -> None:
        """See `Store`."""
        assert self._thread is None
        loop = asyncio.get_running_loop()
        thread = StoreThread(self._backend, loop, self._settle, self._patience_s)
        try:
            await thread.opened
        except BaseException:
            thread.stop()
            thread.give_up()
            raise
        self._thread = thread

    async def aclose(self) -> None:
        """See `Store`."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        thread.stop()
        if not await _within(self._drain_s, thread.ended):
            thread.give_up()
            await _within(self._drain_s, thread.ended)
        self._absences += thread.absences
        for call in tuple(self._waiting):  # nobody else will, if the thread hangs
            call.error = failed("it hung when it was closed")
            self._settle(call)

    # --- everybody's side: see `ports.Archive` ---
    def write(self, *changes: Change) -> "Future[None]":
        """See `ports.Archive`."""
        try:
            bound = [statements.put(change) for change in changes]
        except OurError as error:
            return self._refused(error)
        return self._put(lambda backend: _write(backend, bound), statements.size_of(bound))

    async def session(self, session_id: str) -> SessionRecord | None:
        """See `ports.Archive`."""
        found = await self._read(statements.session(session_id), statements.as_session)
        return found[0] if found else None

    async def sessions(
        self, *, owner: str | None = None, resumable_at_s: float | None = None, limit: int = 100
    ) -> Sequence[SessionRecord]:
        """See `ports.Archive`."""
        query = statements.sessions(owner, resumable_at_s, limit)
        return await self._read(query, statements.as_session)

    async def items(
        self, session_id: str, *, after: int = 0, limit: int = 1_000
    ) -> Sequence[ItemRecord]:
        """See `ports.Archive`."""
        return await self._read(statements.items(session_id, after, limit), statements.as_item)

    async def last_items(self, session_id: str, limit: int = 1_000) -> Sequence[ItemRecord]:
        """See `ports.Archive`."""
        found = await self._read(statements.last_items(session_id, limit), statements.as_item)
        return found[::-1]

    async def turns(self, session_id: str, *, limit: int = 1_000) -> Sequence[TurnRecord]:
        """See `ports.Archive`."""
        return await self._read(statements.turns(session_id, limit), statements.as_turn)

    async def sounds(
        self, session_id: str, *, after_ms: int = -1, limit: int = 100
    ) -> Sequence[SoundRecord]:
        """See `ports.Archive`; one more than the limit where both sides begin at its last moment."""
        query = statements.sounds(session_id, after_ms, limit)
        return await self._read(query, statements.as_sound)

    async def erase(self, session_id: str) -> bool:
        """See `ports.Archive`."""
        bound = statements.erase(session_id)
        gone: int = await self._put(lambda backend: _erase(backend, bound))
        return gone > 0

    async def erase_old(
        self, *, sounds_before_s: float | None, sessions_before_s: float | None
    ) -> Erased:
        """See `Store`."""
        return Erased(
            sounds=await self._erase_all(statements.erase_sounds, sounds_before_s),
            sessions=await self._erase_all(statements.erase_sessions, sessions_before_s),
        )

    # --- the way to the thread and back ---
    async def _erase_all(
        self, statement: Callable[[float, int], Bound], before_s: float | None
    ) -> int:
        if before_s is None:
            return 0
        bound = statement(before_s, BATCH)
        erased = 0
        while True:
            gone: int = await self._put(lambda backend: _erase(backend, bound))
            erased += gone
            if gone < BATCH:
                return erased

    async def _read(self, query: Bound, parse: Callable[[Row], Record]) -> list[Record]:
        """Rows are parsed in the thread, too."""

        def work(backend: Backend) -> list[Record]:
            return [parse(row) for row in backend.read(query)]

        try:
            async with asyncio.timeout(READ_S):
                found: list[Record] = await self._put(work, is_write=False)
        except TimeoutError:
            raise failed(f"nothing came back within {READ_S:.0f} s") from None
        return found

    def _put(
        self, work: Callable[[Backend], Any], size: int = 0, *, is_write: bool = True
    ) -> "Future[Any]":
        if self._thread is None:
            return self._refused(failed("it is not open"))
        crowded = self._waiting_bytes + size > MAX_WAITING_BYTES and self._waiting
        if len(self._waiting) >= MAX_WAITING or crowded:
            self._overruns += 1
            return self._refused(
                OurError("store_overrun", "More is to be kept than the database takes.")
            )
        call = Call(work, asyncio.get_running_loop().create_future(), size, is_write)
        self._waiting.add(call)
        self._waiting_bytes += size
        self._thread.put(call)
        return call.future

    def _refused(self, error: DuologueError) -> "Future[Any]":
        future: Future[Any] = asyncio.get_running_loop().create_future()
        self._fail(future, error)
        return future

    def _settle(self, call: Call) -> None:
        if call not in self._waiting:  # it came after all, too late
            return
        self._waiting.remove(call)
        self._waiting_bytes -= call.size
        if call.error is not None:
            self._fail(call.future, call.error)
            return
        if call.is_write:
            self._written += 1
            self._commits_ms.append(call.took_ms)
            if self._failing:
                log.warning("~ the store works again; %d calls had failed", self._failing)
                self._failing = 0
        if not call.future.done():
            call.future.set_result(call.result)

    def _fail(self, future: "Future[Any]", error: DuologueError) -> None:
        """Said once for a row of failures: what fails once usually fails for everybody."""
        self._failed += 1
        self._failing += 1
        if self._failing == 1:
            log.error("! %s: %s", error.code, error.message)
        if not future.done():
            future.set_exception(error)
            future.exception()  # looked at: asyncio has nothing to complain about if nobody else does


def _write(backend: Backend, bound: Sequence[Bound]) -> None:
    if bound:
        backend.write(bound)


def _erase(backend: Backend, statement: Bound) -> int:
    gone = backend.write([statement])
    if gone:
        backend.erased()
    return gone


async def _within(seconds: float, future: "Future[None]") -> bool:
    await asyncio.wait([future], timeout=seconds)
    return future.done()
