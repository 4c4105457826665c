"""What is kept of conversations when their memory is gone: plain values, written in changes, read in records.

A session's items are numbered by `number`, which grows with each item and is never used twice: what a client has not
heard of is what has a larger number than the last one that it got.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["realtime", "streaming"]


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One session. Written whole: a later record of the same id replaces the earlier.

    Attributes:
        owner: name of the API key whose it is; empty where none was asked for.
        created_s: seconds since 1970; `active_s`, `expires_s` and `ended_s` likewise.
        expires_s: when nobody can come back to it any more.
        ended_s: when it was ended for good; None while it lasts.
        token_hashes: SHA-256 of the tokens by which it can be resumed, in hexadecimal.
        settings: what it was set up with, as the dialect of its kind writes it: JSON.
        state: where it stands, as its owner needs it to go on: JSON.
    """

    id: str
    kind: Kind
    owner: str
    created_s: float
    active_s: float
    expires_s: float
    ended_s: float | None = None
    token_hashes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ItemRecord:
    """One item of a session. A later record of the same session and id replaces the earlier, and keeps its place.

    Attributes:
        number: 1 and up within the session; order of being made.
        kind: "message", "function_call", "gap" and so on.
        role: "user", "assistant", "system"; empty where nobody says it.
        text: what was said, or heard of it; what a search looks at.
        start_ms: on the session's clock; `end_ms` likewise.
        body: all of it, as its owner reads it back: JSON.
        at_s: when it was made, seconds since 1970.
    """

    session_id: str
    id: str
    number: int
    kind: str
    role: str
    text: str
    at_s: float
    status: str = "completed"
    start_ms: int = 0
    end_ms: int = 0
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ItemGone:
    """An item was deleted."""

    session_id: str
    id: str


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """What became of a turn: its waterfall and its reasons (`session.meters.Turn.as_dict`). Nothing that was said."""

    session_id: str
    item_id: str
    at_s: float
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SoundRecord:
    """A stretch of recorded sound, where the session asked for that.

    Attributes:
        side: "user" or "assistant".
        start_ms: on the session's clock.
        media_type: of `data`: "audio/pcm;rate=16000" or "audio/flac" for example.
        at_s: when it was recorded; it is erased so long after.
    """

    session_id: str
    side: Literal["user", "assistant"]
    start_ms: int
    media_type: str
    data: bytes
    at_s: float


Change = SessionRecord | ItemRecord | ItemGone | TurnRecord | SoundRecord
"""What can be written. Changes of one call are committed together, or not at all."""
