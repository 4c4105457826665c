"""An archive in memory, whose commits can be held back, or fail."""

import asyncio
from asyncio import Future
from collections.abc import Sequence
from dataclasses import replace

from duologue.core.errors import OurError
from duologue.core.records import (
    Change,
    ItemGone,
    ItemRecord,
    SessionRecord,
    SoundRecord,
    TurnRecord,
)


class MemoryArchive:
    """See `ports.Archive`. What is committed is in `kept`, `items_of` and `turned`.

    Attributes:
        is_held: commits wait until `commit` is called.
        fails: writes and reads fail.
        commits: the changes of each, in order.
    """

    def __init__(self) -> None:
        self.is_held = False
        self.fails = False
        self.commits: list[tuple[Change, ...]] = []
        self.kept: dict[str, SessionRecord] = {}
        self.items_of: dict[str, dict[str, ItemRecord]] = {}
        self.turned: list[TurnRecord] = []
        self._waiting: list[tuple[tuple[Change, ...], Future[None]]] = []

    def after_the_kill(self) -> "MemoryArchive":
        """What another server finds: what is committed."""
        other = MemoryArchive()
        other.kept = dict(self.kept)
        other.items_of = {name: dict(items) for name, items in self.items_of.items()}
        return other

    def commit(self, count: int | None = None) -> None:
        """Commit the oldest so many of what waits; all if it is not said."""
        due = self._waiting[:count]
        del self._waiting[:count]
        for changes, done in due:
            self._commit(changes, done)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def texts(self) -> list[str]:
        """Of all items of the one session, in their order."""
        (items,) = self.items_of.values()
        return [record.text for record in sorted(items.values(), key=lambda r: r.number)]

    # --- the port ---
    def write(self, *changes: Change) -> "Future[None]":
        loop = asyncio.get_running_loop()
        done: Future[None] = loop.create_future()
        if self.fails:
            done.set_exception(OurError("store_failed", "The store could not do this."))
            done.exception()
        elif self.is_held:
            self._waiting.append((changes, done))
        else:
            loop.call_soon(self._commit, changes, done)
        return done

    async def session(self, session_id: str) -> SessionRecord | None:
        self._answer()
        return self.kept.get(session_id)

    async def sessions(
        self, *, owner: str | None = None, resumable_at_s: float | None = None, limit: int = 100
    ) -> Sequence[SessionRecord]:
        self._answer()
        found = [
            record
            for record in self.kept.values()
            if owner in (None, record.owner)
            and (
                resumable_at_s is None
                or (record.ended_s is None and record.expires_s > resumable_at_s)
            )
        ]
        return sorted(found, key=lambda record: -record.active_s)[:limit]

    async def items(
        self, session_id: str, *, after: int = 0, limit: int = 1_000
    ) -> Sequence[ItemRecord]:
        return [record for record in await self.last_items(session_id) if record.number > after]

    async def last_items(self, session_id: str, limit: int = 1_000) -> Sequence[ItemRecord]:
        self._answer()
        items = self.items_of.get(session_id, {}).values()
        return sorted(items, key=lambda record: record.number)[-limit:]

    async def turns(self, session_id: str, *, limit: int = 1_000) -> Sequence[TurnRecord]:
        return [record for record in self.turned if record.session_id == session_id][:limit]

    async def sounds(
        self, session_id: str, *, after_ms: int = -1, limit: int = 100
    ) -> Sequence[SoundRecord]:
        return ()

    async def erase(self, session_id: str) -> bool:
        return self.kept.pop(session_id, None) is not None

    def _answer(self) -> None:
        if self.fails:
            raise OurError("store_failed", "The store could not do this.")

    def _commit(self, changes: tuple[Change, ...], done: "Future[None]") -> None:
        self.commits.append(changes)
        for change in changes:
            match change:
                case SessionRecord():
                    self.kept[change.id] = change
                case ItemRecord():
                    items = self.items_of.setdefault(change.session_id, {})
                    before = items.get(change.id)
                    number = change.number if before is None else before.number
                    items[change.id] = replace(change, number=number)
                case ItemGone():
                    self.items_of[change.session_id].pop(change.id, None)
                case TurnRecord():
                    self.turned.append(change)
                case SoundRecord():
                    raise AssertionError("nobody asked for sound")
        if not done.done():
            done.set_result(None)
