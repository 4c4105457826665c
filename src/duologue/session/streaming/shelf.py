"""What was told for good, and is being stored: told once it is, in order, and again to whoever missed it."""

import logging
from asyncio import Future
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from duologue.core.records import Change, ItemRecord
from duologue.core.streaming import GapMarked, Lasting, Spoken, Transcribed
from duologue.core.words import Word
from duologue.ports import Archive

log = logging.getLogger("duologue.streaming")

MAX_UNSTORED = 256
"""Notices that wait for the store; beyond, no sound is taken."""

MAX_RECENT = 512
MAX_RECENT_BYTES = 4 * 2**20
"""What was told lately, with its sound: for clients that come back at once. The store has the rest, without sound."""


@dataclass(slots=True)
class _Entry:
    notice: Lasting
    changes: tuple[Change, ...]
    stored: Callable[[bool], None]
    is_done: bool = False


class Shelf:
    """One session's.

    Args:
        tell: takes what is told, once it is stored.

    Attributes:
        number: the last one given out.
    """

    def __init__(
        self, archive: Archive, session_id: str, tell: Callable[[Lasting], None], number: int = 0
    ) -> None:
        self.number = number
        self.told = number
        self._archive = archive
        self._id = session_id
        self._tell = tell
        self._waiting: deque[_Entry] = deque()
        self._recent: deque[Lasting] = deque()
        self._recent_bytes = 0
        self._unsaved: list[Change] = []  # that could not be written
        self._acts: list[Callable[[], None]] = []
        self._committed = -1  # as it was told last

    @property
    def is_full(self) -> bool:
        """The store is too slow."""
        return len(self._waiting) >= MAX_UNSTORED

    @property
    def is_waiting(self) -> bool:
        """Something is being stored."""
        return bool(self._waiting)

    @property
    def held_bytes(self) -> int:
        """Sound that is held."""
        return self._recent_bytes + sum(_size(entry.notice) for entry in self._waiting)

    def next_number(self) -> int:
        """For the next item."""
        self.number += 1
        return self.number

    def put(
        self, notice: Lasting, *changes: Change, stored: Callable[[bool], None] = lambda _: None
    ) -> None:
        """Store, then tell. `stored` is called before it is told, with whether it was stored."""
        entry = _Entry(notice, changes, stored)
        self._waiting.append(entry)
        unsaved, self._unsaved = self._unsaved, []
        entry.changes = (*unsaved, *changes)
        written = self._archive.write(*entry.changes)
        if written.done():
            self._written(entry, written)
        else:
            written.add_done_callback(lambda done: self._written(entry, done))

    async def since(self, number: int) -> tuple[list[Lasting], bool]:
        """What was told after this number, and whether nothing of it is missing."""
        recent = [notice for notice in self._recent if notice.number > number]
        first = recent[0].number if recent else self.told + 1
        if first <= number + 1:
            return recent, True
        stored = await self._archive.items(self._id, after=number, limit=first - number - 1)
        older = [
            notice for r in stored if r.number < first and (notice := notice_of(r)) is not None
        ]
        return [*older, *recent], len(stored) == first - number - 1

    def _written(self, entry: _Entry, written: "Future[None]") -> None:
        is_stored = not written.cancelled() and written.exception() is None
        if not is_stored:  # it goes with the next write, before what that has
            self._unsaved = [*self._unsaved, *entry.changes][-MAX_UNSTORED:]
            if isinstance(entry.notice, Transcribed):
                entry.notice = replace(entry.notice, committed=self._committed)
        elif isinstance(entry.notice, Transcribed):
            self._committed = entry.notice.committed
        entry.stored(is_stored)
        entry.is_done = True
        while self._waiting and self._waiting[0].is_done:
            notice = self._waiting.popleft().notice
            self.told = notice.number
            self._keep(notice)
            self._tell(notice)
        if not self._waiting:
            acts, self._acts = self._acts, []
            for act in acts:
                act()

    def when_told(self, act: Callable[[], None]) -> None:
        """Do this behind all that is being stored."""
        if self._waiting:
            self._acts.append(act)
        else:
            act()

    def revise(self, records: Sequence[ItemRecord]) -> None:
        """These are not what they were: who missed them is told them as they are."""
        revised = {record.number: record for record in records}
        kept, self._recent = self._recent, deque()
        self._recent_bytes = 0
        for notice in kept:
            record = revised.get(notice.number)
            self._keep(notice if record is None else notice_of(record) or notice)

    def _keep(self, notice: Lasting) -> None:
        self._recent.append(notice)
        self._recent_bytes += _size(notice)
        while len(self._recent) > MAX_RECENT or self._recent_bytes > MAX_RECENT_BYTES:
            self._recent_bytes -= _size(self._recent.popleft())


def _size(notice: Lasting) -> int:
    return len(notice.audio) if isinstance(notice, Spoken) else 0


# --- notices as records, and back ---
def record_of(session_id: str, notice: Lasting, at_s: float) -> ItemRecord:
    """As it is stored; sound is not."""
    match notice:
        case Transcribed():
            body: dict[str, Any] = {
                "language": notice.language,
                "confidence": notice.confidence,
                "words": [[w.text, w.start_ms, w.end_ms, w.logprob] for w in notice.words],
                "first_chunk": notice.first_chunk,
                "last_chunk": notice.last_chunk,
                "ends_utterance": notice.ends_utterance,
                "committed": notice.committed,
            }
            place = (notice.start_ms, notice.end_ms)
            made = _record(session_id, notice.id, notice.number, "transcript", "user", at_s)
            return replace(made, text=notice.text, start_ms=place[0], end_ms=place[1], body=body)
        case Spoken():
            body = {
                "response_id": notice.response_id,
                "request_id": notice.request_id,
                "part": notice.part,
                "is_last": notice.is_last,
                "language": notice.language,
                "duration_ms": notice.duration_ms,
            }
            item_id = f"{notice.response_id}_{notice.part}"
            made = _record(session_id, item_id, notice.number, "speech", "assistant", at_s)
            return replace(made, text=notice.text, body=body)
        case GapMarked():
            body = {
                "first_chunk": notice.first_chunk,
                "last_chunk": notice.last_chunk,
                "reason": notice.reason,
            }
            made = _record(session_id, notice.id, notice.number, "gap", "", at_s)
            return replace(made, start_ms=notice.start_ms, end_ms=notice.end_ms, body=body)


def notice_of(record: ItemRecord) -> Lasting | None:
    """As it was told; None of what is not told."""
    body = record.body
    match record.kind:
        case "transcript":
            return Transcribed(
                record.number,
                record.id,
                record.text,
                body["language"],
                body["confidence"],
                record.start_ms,
                record.end_ms,
                tuple(Word(*word) for word in body["words"]),
                body["first_chunk"],
                body["last_chunk"],
                body["ends_utterance"],
                body["committed"],
            )
        case "speech":
            return Spoken(
                record.number,
                body["response_id"],
                body["request_id"],
                body["part"],
                body["is_last"],
                record.text,
                body["language"],
                duration_ms=body["duration_ms"],
                audio_lost=body["duration_ms"] > 0,
            )
        case "gap":
            return GapMarked(
                record.number,
                record.id,
                body["first_chunk"],
                body["last_chunk"],
                record.start_ms,
                record.end_ms,
                body["reason"],
            )
        case _:
            return None


def notices_of(records: Sequence[ItemRecord]) -> list[Lasting]:
    """Those that are told."""
    return [notice for record in records if (notice := notice_of(record)) is not None]


def _record(
    session_id: str, item_id: str, number: int, kind: str, role: str, at_s: float
) -> ItemRecord:
    return ItemRecord(session_id, item_id, number, kind, role, "", at_s)
