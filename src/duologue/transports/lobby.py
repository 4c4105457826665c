"""Where sessions wait whose client is gone without a goodbye, and the tokens by which they are found again."""

import hashlib
import secrets
from typing import Generic, Protocol, TypeVar

TOKEN_BYTES = 24
"""192 random bits: nobody guesses one."""

RESUME_MS = 30_000
"""A phone between two networks, a page that is reloaded, a device that starts again: all are back sooner.
Longer than that, nobody remembers what was being said."""

MAX_KEPT = 64
"""Sessions waiting for their client at a time; then the one that has waited longest is ended."""

KEPT_TOKENS = 2
"""A session's last: the one that its client came back with is good until it has shown that it got the next."""


class Resumable(Protocol):
    """A session that its client may come back to."""

    def give_up(self) -> None:
        """Nobody comes back: end it."""


R = TypeVar("R", bound=Resumable)


class Lobby(Generic[R]):
    """Finds sessions by their tokens. Only hashes are kept, so how long a search takes tells nothing of a token."""

    def __init__(self) -> None:
        self._by_hash: dict[str, R] = {}
        self._hashes: dict[R, list[str]] = {}
        self._waiting: dict[R, None] = {}

    def __len__(self) -> int:
        """Sessions that wait for their client."""
        return len(self._waiting)

    def issue(self, session: R) -> str:
        """A token for a session, beside the one before it."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        hashes = self._hashes.setdefault(session, [])
        hashes.append(hash_of(token))
        self._by_hash[hashes[-1]] = session
        self._forget_all_but(session, KEPT_TOKENS)
        return token

    def came_by(self, session: R, token: str) -> None:
        """Its client has this token, and none that was issued later: it may have to come by it again."""
        for token_hash in self._hashes.pop(session, []):
            self._by_hash.pop(token_hash, None)
        self._hashes[session] = [hash_of(token)]
        self._by_hash[hash_of(token)] = session

    def hashes(self, session: R) -> tuple[str, ...]:
        """By what it is found."""
        return tuple(self._hashes.get(session, ()))

    def confirm(self, session: R) -> None:
        """Its client has the last token: those before it are used up."""
        self._forget_all_but(session, 1)

    def find(self, token: str) -> R | None:
        """Whose token it is."""
        return self._by_hash.get(hash_of(token))

    def wait(self, session: R) -> None:
        """Its client is gone."""
        if len(self._waiting) >= MAX_KEPT:
            next(iter(self._waiting)).give_up()
        self._waiting[session] = None

    def back(self, session: R) -> None:
        """Its client is here again."""
        self._waiting.pop(session, None)

    def forget(self, session: R) -> None:
        """It is over."""
        self._waiting.pop(session, None)
        self._forget_all_but(session, 0)
        self._hashes.pop(session, None)

    def _forget_all_but(self, session: R, last: int) -> None:
        hashes = self._hashes.get(session, [])
        while len(hashes) > last:
            del self._by_hash[hashes.pop(0)]


def hash_of(token: str) -> str:
    """SHA-256 of a token, in hexadecimal."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
