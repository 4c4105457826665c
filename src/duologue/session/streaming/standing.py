"""Where a session stands, as the store has it: its life, its token, and up to where its sound is dealt with."""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import asdict, fields

from duologue.core.records import SessionRecord
from duologue.core.streaming import StreamOptions
from duologue.ports import Archive
from duologue.session.streaming.shared import Bounds
from duologue.session.streaming.transcript import Place

STATE_EVERY_S = 2.0
"""How often a place is stored that no words came of: what a client that comes back need not send again."""

SIGN_EVERY_S = 30.0
"""How often it is stored that the client is still there."""

TOKEN_BYTES = 24
"""192 random bits: nobody guesses one."""


class Standing:
    """One session's.

    Attributes:
        active_s: when its client last gave a sign of life, seconds since 1970; the others likewise.
        ends_s: when it is over, unless it is renewed.
        stored: the place that is in the store.
    """

    def __init__(
        self,
        session_id: str,
        owner: str,
        archive: Archive,
        bounds: Bounds,
        wall_s: Callable[[], float],
        record: SessionRecord | None,
    ) -> None:
        now_s = wall_s()
        state = record.state if record is not None else {}
        self.created_s = record.created_s if record is not None else now_s
        self.ends_s = float(state.get("ends_s", now_s + bounds.length_s))
        self.active_s = now_s
        self.ended_s: float | None = None
        self.stored = Place(
            int(state.get("next_chunk", 0)),
            int(state.get("next_chunk_ms", 0)),
            int(state.get("position", 0)),
            state.get("sound", ""),
        )
        self._latest = self.stored  # that is written, or being written
        self._id = session_id
        self._owner = owner
        self._archive = archive
        self._bounds = bounds
        self._wall_s = wall_s
        self._token_hash = record.token_hashes[0] if record is not None else ""
        self._written_s = now_s

    # --- the token ---
    def new_token(self) -> str:
        """The token by which it is joined again; only its hash is kept."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._token_hash = _hash(token)
        return token

    def is_token(self, token: str) -> bool:
        """Whether it is this one."""
        return hmac.compare_digest(_hash(token), self._token_hash)

    # --- its life ---
    @property
    def expires_s(self) -> float:
        """When it is over if nothing happens."""
        return min(self.ends_s, self.active_s + self._bounds.idle_s)

    def touch(self) -> None:
        """The client gave a sign of life."""
        self.active_s = self._wall_s()

    def renew(self) -> None:
        """Its full length again, from now."""
        self.ends_s = self._wall_s() + self._bounds.length_s

    def is_too_long(self) -> bool:
        """Its length is over."""
        return self._wall_s() >= self.ends_s

    def is_idle(self) -> bool:
        """Nobody has given a sign of life for too long."""
        return self._wall_s() - self.active_s >= self._bounds.idle_s

    # --- the store ---
    def record(self, options: StreamOptions, place: Place | None = None) -> SessionRecord:
        """As it stands; `place`: where it will stand once this is written."""
        if place is not None and place.position >= self._latest.position:
            self._latest = place
        place = self._latest
        self._written_s = self._wall_s()
        return SessionRecord(
            self._id,
            "streaming",
            self._owner,
            self.created_s,
            self.active_s,
            self.expires_s,
            self.ended_s,
            (self._token_hash,),
            asdict(options),
            {
                "next_chunk": place.next_chunk,
                "next_chunk_ms": place.next_chunk_ms,
                "position": place.position,
                "sound": place.sound,
                "ends_s": self.ends_s,
            },
        )

    def is_due(self, place: Place) -> bool:
        """Whether it should be written although nothing was said."""
        waited_s = self._wall_s() - self._written_s
        has_moved = place.position > self.stored.position
        return waited_s >= (STATE_EVERY_S if has_moved else SIGN_EVERY_S)

    def is_stored(self, place: Place) -> None:
        """This place is in the store."""
        if place.position >= self.stored.position:
            self.stored = place

    def begin_again(self, position: int) -> None:
        """Chunks count from 0 again."""
        self.stored = self._latest = Place(0, 0, position)


def options_of(record: SessionRecord) -> StreamOptions:
    """As they were; what is not known any more is left out."""
    known = {field.name for field in fields(StreamOptions)}
    return StreamOptions(
        **{name: value for name, value in record.settings.items() if name in known}
    )


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
