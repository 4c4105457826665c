"""Ephemeral keys: short-lived secrets that a server of the user's gives to a browser.

Each belongs to the key that asked for it, carries the settings of the sessions that it opens, and lives in this
process's memory: it ends when its time is over, when its parent is revoked, and when the server stops. Of the
secret only a hash is kept (why that is enough: `server.keys`). It is looked up by that hash, so what the time
of a look-up tells is about hashes, of which no secret can be found.
"""

import json
import math
import secrets
from bisect import bisect_right, insort
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from duologue.server.keys import EPHEMERAL_PREFIX, RANDOM_BYTES, digest
from duologue.server.limits import Full

MIN_LIFETIME_S = 10
MAX_LIFETIME_S = 7_200
DEFAULT_LIFETIME_S = 600

MAX_SECRETS = 10_000
MAX_OF_ONE_KEY = 1_000
MAX_BYTES = 64 * 1024 * 1024
"""Of all their settings together. When one of these is reached, none is made until the oldest run out: to end
one that somebody holds would break the promise of its `expires_at`."""

MAX_EXPIRED = 10_000
"""Those that ran out are remembered by their hashes, so that their holders can be told that they did."""


@dataclass(frozen=True, slots=True)
class Minted:
    """A new ephemeral key; `expires_at` in Unix seconds."""

    value: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class Secret:
    """What is known of an ephemeral key.

    Attributes:
        parent: the hash of the key that asked for it; empty where no key is needed.
        settings: those of its sessions, as JSON.
    """

    parent: str
    settings: bytes
    expires_at: int

    @property
    def session(self) -> dict[str, Any]:
        """The settings, as in a `session.update`; the caller's own."""
        session: dict[str, Any] = json.loads(self.settings)
        return session


@dataclass(frozen=True, slots=True)
class Expired:
    """It was one of ours, and its time is over."""


class ClientSecrets:
    """All ephemeral keys of a server.

    Args:
        clock_s: Unix time; what a client is told as `expires_at` is on the same clock.
    """

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._alive: dict[str, Secret] = {}
        self._by_end: list[tuple[int, str]] = []
        self._expired: OrderedDict[str, None] = OrderedDict()
        self._of: Counter[str] = Counter()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._alive)

    def mint(self, parent: str, session: Mapping[str, Any], lifetime_s: int) -> Minted | Full:
        """Make one, or say when there will be room for it.

        Args:
            parent: the hash of the key that asks; empty where no key is needed.
            session: settings that have been found good.
            lifetime_s: from `MIN_LIFETIME_S` to `MAX_LIFETIME_S`.
        """
        self._expire()
        now_s = self._clock_s()
        settings = json.dumps(session, separators=(",", ":")).encode()
        if (room_at := self._room_at(parent, len(settings))) is not None:
            seconds = max(1, math.ceil(room_at - now_s))
            message = f"Too many ephemeral keys are alive. The next can be made in {seconds} s."
            return Full("rate_limit_exceeded", message, seconds)
        value = EPHEMERAL_PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
        known = digest(value)
        made = Secret(parent, settings, int(now_s) + lifetime_s)
        self._alive[known] = made
        insort(self._by_end, (made.expires_at, known))
        self._of[parent] += 1
        self._bytes += len(settings)
        return Minted(value, made.expires_at)

    def find(self, value: str) -> Secret | Expired | None:
        """The ephemeral key that this is; None if it is none of ours."""
        self._expire()
        known = digest(value)
        if known in self._expired:
            return Expired()
        return self._alive.get(known)

    def forget(self, parent: str) -> None:
        """The parent was revoked."""
        for known in [known for known, secret in self._alive.items() if secret.parent == parent]:
            self._drop(known)
        self._by_end = [(at, known) for at, known in self._by_end if known in self._alive]

    def _expire(self) -> None:
        now_s = self._clock_s()
        if not self._by_end or self._by_end[0][0] > now_s:
            return
        over = bisect_right(self._by_end, now_s, key=lambda entry: entry[0])
        for _, known in self._by_end[:over]:
            self._drop(known)
            self._expired[known] = None
        del self._by_end[:over]
        while len(self._expired) > MAX_EXPIRED:
            self._expired.popitem(last=False)

    def _drop(self, known: str) -> None:
        secret = self._alive.pop(known)
        self._bytes -= len(secret.settings)
        self._of[secret.parent] -= 1
        if not self._of[secret.parent]:
            del self._of[secret.parent]

    def _room_at(self, parent: str, size: int) -> int | None:
        """When enough will have run out for one more of this size; None if there is room."""
        count, own, held = len(self._alive), self._of[parent], self._bytes + size

        def fits() -> bool:
            return count < MAX_SECRETS and own < MAX_OF_ONE_KEY and held <= MAX_BYTES

        if fits():
            return None
        for at, known in self._by_end:
            secret = self._alive[known]
            count, held = count - 1, held - len(secret.settings)
            own -= secret.parent == parent
            if fits():
                return at
        raise AssertionError("one is too large for an empty store")
