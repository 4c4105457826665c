"""Records for tests: what does not matter has a value."""

from typing import Any

from duologue.core.records import ItemRecord, SessionRecord, SoundRecord, TurnRecord


def a_session(session_id: str = "s", **fields: Any) -> SessionRecord:
    given: dict[str, Any] = {
        "owner": "",
        "created_s": 100.0,
        "active_s": 100.0,
        "expires_s": 3_700.0,
    } | fields
    return SessionRecord(session_id, "streaming", **given)


def an_item(number: int, *, session_id: str = "s", **fields: Any) -> ItemRecord:
    given: dict[str, Any] = {"text": f"item {number}", "at_s": 100.0 + number} | fields
    return ItemRecord(session_id, f"i{number}", number, "message", "user", **given)


def a_turn(item_id: str, at_s: float, **body: Any) -> TurnRecord:
    return TurnRecord("s", item_id, at_s, body)


def a_sound(start_ms: int, **fields: Any) -> SoundRecord:
    given: dict[str, Any] = {"side": "user", "data": b"\0\1" * 8, "at_s": 100.0} | fields
    return SoundRecord("s", start_ms=start_ms, media_type="audio/pcm;rate=16000", **given)
