"""Records to statements, rows to records. Each statement is understood by SQLite and PostgreSQL.

Every change can be written twice with the same outcome, so that one whose commit was lost on the way back is
simply tried again.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from duologue.core.records import (
    Change,
    ItemGone,
    ItemRecord,
    SessionRecord,
    SoundRecord,
    TurnRecord,
)
from duologue.store.backend import Bound
from duologue.store.migrating import Row
from duologue.store.values import clean, finite, from_json, to_json

SESSION = "id kind owner created_s active_s expires_s ended_s token_hashes settings state".split()
ITEM = "session_id id number kind role text at_s status start_ms end_ms body".split()
TURN = "session_id at_s item_id body".split()
SOUND = "session_id start_ms side media_type data at_s".split()
_JSON = ("token_hashes", "settings", "state", "body")


def _upsert(table: str, columns: Sequence[str], key: Sequence[str], *, keeping: str = "") -> str:
    """Insert a row, or replace one of the same key: all but its key, and the column to be kept."""
    changed = ", ".join(f"{c} = excluded.{c}" for c in columns if c not in (*key, keeping))
    marks = ", ".join("?" * len(columns))
    return (
        f"INSERT INTO duologue_{table} ({', '.join(columns)}) VALUES ({marks}) "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changed}"
    )


_PUT_SESSION = _upsert("sessions", SESSION, ["id"])
_PUT_ITEM = _upsert("items", ITEM, ["session_id", "id"], keeping="number")
_PUT_TURN = _upsert("turns", TURN, ["session_id", "at_s", "item_id"])
_PUT_SOUND = _upsert("sounds", SOUND, ["session_id", "start_ms", "side"])
_GET_SESSION = f"SELECT {', '.join(SESSION)} FROM duologue_sessions"
_GET_ITEMS = f"SELECT {', '.join(ITEM)} FROM duologue_items WHERE session_id = ?"
_GET_TURNS = f"SELECT {', '.join(TURN)} FROM duologue_turns WHERE session_id = ?"
_GET_SOUNDS = f"SELECT {', '.join(SOUND)} FROM duologue_sounds WHERE session_id = ?"


def put(change: Change) -> Bound:
    """The statement that writes a change.

    Raises:
        OurError: it holds what cannot be written.
    """
    match change:
        case SessionRecord():
            return _PUT_SESSION, _session_values(change)
        case ItemRecord():
            return _PUT_ITEM, _item_values(change)
        case TurnRecord():
            key = (clean(change.session_id), finite(change.at_s), clean(change.item_id))
            return _PUT_TURN, (*key, to_json(change.body))
        case SoundRecord():
            start = (clean(change.session_id), change.start_ms, change.side)
            return _PUT_SOUND, (*start, clean(change.media_type), change.data, finite(change.at_s))
        case ItemGone():
            gone = "DELETE FROM duologue_items WHERE session_id = ? AND id = ?"
            return gone, (clean(change.session_id), clean(change.id))


def size_of(statements: Iterable[Bound]) -> int:
    """Bytes, about, that statements take while they wait."""
    return sum(
        len(value)
        for _, values in statements
        for value in values
        if isinstance(value, (str, bytes, bytearray, memoryview))
    )


def session(session_id: str) -> Bound:
    """One session."""
    return f"{_GET_SESSION} WHERE id = ?", (clean(session_id),)


def sessions(owner: str | None, resumable_at_s: float | None, limit: int) -> Bound:
    """The latest active first."""
    conditions: list[str] = []
    values: list[object] = []
    if owner is not None:
        conditions.append("owner = ?")
        values.append(clean(owner))
    if resumable_at_s is not None:
        conditions.append("ended_s IS NULL AND expires_s > ?")
        values.append(resumable_at_s)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    order = " ORDER BY active_s DESC, id LIMIT ?"
    return _GET_SESSION + where + order, (*values, max(0, limit))


def items(session_id: str, after: int, limit: int) -> Bound:
    """By number, from the first after this one."""
    statement = f"{_GET_ITEMS} AND number > ? ORDER BY number LIMIT ?"
    return statement, (clean(session_id), after, max(0, limit))


def last_items(session_id: str, limit: int) -> Bound:
    """Those with the highest numbers, the highest first."""
    return f"{_GET_ITEMS} ORDER BY number DESC LIMIT ?", (clean(session_id), max(0, limit))


def turns(session_id: str, limit: int) -> Bound:
    """The oldest first."""
    statement = f"{_GET_TURNS} ORDER BY at_s, item_id LIMIT ?"
    return statement, (clean(session_id), max(0, limit))


def sounds(session_id: str, after_ms: int, limit: int) -> Bound:
    """By time. Both sides of the last moment come along: a reader goes on from a moment, and would miss the other."""
    page = (
        "SELECT start_ms FROM duologue_sounds WHERE session_id = ? AND start_ms > ? "
        "ORDER BY start_ms LIMIT ?"
    )
    statement = (
        f"{_GET_SOUNDS} AND start_ms > ? "
        f"AND start_ms <= (SELECT MAX(start_ms) FROM ({page}) AS page) ORDER BY start_ms, side"
    )
    whose = clean(session_id)
    return statement, (whose, after_ms, whose, after_ms, max(0, limit))


def erase(session_id: str) -> Bound:
    """A session and, by its foreign keys, all of it."""
    return "DELETE FROM duologue_sessions WHERE id = ?", (clean(session_id),)


def erase_sounds(before_s: float, limit: int) -> Bound:
    """Some of the sounds that were recorded before this."""
    found = "SELECT session_id, start_ms, side FROM duologue_sounds WHERE at_s < ? LIMIT ?"
    statement = f"DELETE FROM duologue_sounds WHERE (session_id, start_ms, side) IN ({found})"
    return statement, (before_s, limit)


def erase_sessions(before_s: float, limit: int) -> Bound:
    """Some of the sessions that ended or expired before this."""
    found = "SELECT id FROM duologue_sessions WHERE ended_s < ? OR expires_s < ? LIMIT ?"
    return f"DELETE FROM duologue_sessions WHERE id IN ({found})", (before_s, before_s, limit)


def as_session(row: Row) -> SessionRecord:
    """A row of `SESSION`."""
    fields = _named(SESSION, row)
    fields["token_hashes"] = tuple(fields["token_hashes"])
    return SessionRecord(**fields)


def as_item(row: Row) -> ItemRecord:
    """A row of `ITEM`."""
    return ItemRecord(**_named(ITEM, row))


def as_turn(row: Row) -> TurnRecord:
    """A row of `TURN`."""
    return TurnRecord(**_named(TURN, row))


def as_sound(row: Row) -> SoundRecord:
    """A row of `SOUND`."""
    return SoundRecord(**_named(SOUND, row))


def _named(columns: Sequence[str], row: Row) -> dict[str, Any]:
    pairs = zip(columns, row, strict=True)
    return {name: from_json(value) if name in _JSON else value for name, value in pairs}


def _session_values(record: SessionRecord) -> tuple[object, ...]:
    ended_s = None if record.ended_s is None else finite(record.ended_s)
    return (
        *(clean(record.id), record.kind, clean(record.owner)),
        *(finite(record.created_s), finite(record.active_s), finite(record.expires_s), ended_s),
        *(to_json(record.token_hashes), to_json(record.settings), to_json(record.state)),
    )


def _item_values(record: ItemRecord) -> tuple[object, ...]:
    return (
        *(clean(record.session_id), clean(record.id), record.number, clean(record.kind)),
        *(clean(record.role), clean(record.text), finite(record.at_s), clean(record.status)),
        *(record.start_ms, record.end_ms, to_json(record.body)),
    )
