"""The store that keeps nothing."""

import asyncio
from asyncio import Future
from collections.abc import Sequence

from duologue.core.records import Change, ItemRecord, SessionRecord, SoundRecord, TurnRecord
from duologue.store.archive import Erased, StoreStats


class NoArchive:
    """Writes are done at once, reads find nothing."""

    stats = StoreStats()

    async def start(self) -> None:
        """Nothing to open."""

    async def aclose(self) -> None:
        """Nothing to close."""

    def write(self, *changes: Change) -> "Future[None]":
        """Done, and forgotten."""
        done: Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def session(self, session_id: str) -> SessionRecord | None:
        """There is none."""
        return None

    async def sessions(
        self, *, owner: str | None = None, resumable_at_s: float | None = None, limit: int = 100
    ) -> Sequence[SessionRecord]:
        """There are none."""
        return ()

    async def items(
        self, session_id: str, *, after: int = 0, limit: int = 1_000
    ) -> Sequence[ItemRecord]:
        """There are none."""
        return ()

    async def last_items(self, session_id: str, limit: int = 1_000) -> Sequence[ItemRecord]:
        """There are none."""
        return ()

    async def turns(self, session_id: str, *, limit: int = 1_000) -> Sequence[TurnRecord]:
        """There are none."""
        return ()

    async def sounds(
        self, session_id: str, *, after_ms: int = -1, limit: int = 100
    ) -> Sequence[SoundRecord]:
        """There are none."""
        return ()

    async def erase(self, session_id: str) -> bool:
        """There was none."""
        return False

    async def erase_old(
        self, *, sounds_before_s: float | None, sessions_before_s: float | None
    ) -> Erased:
        """There was nothing."""
        return Erased()
