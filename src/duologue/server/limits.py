"""How much one key may do: sessions at a time, and requests a minute. Pure: time is an argument.

Requests are counted in a sliding window, by remembering when each was let in. That is exact: no stretch of 60 s
holds more than the limit, and the moment at which the next one will be let in is known. (A token bucket needs
two numbers instead of one a request, but lets twice the limit through within a minute.) Who is refused is not
counted, so that a client which keeps knocking does not put off the moment it was told.
"""

import ipaddress
import math
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

WINDOW_MS = 60_000

MAX_PER_MINUTE = 60_000
"""The largest limit: 2 MiB of memory for a key that uses it up."""

MAX_SESSIONS = 100_000

FIRST_ESTIMATE_S = 10
"""When a place may be free, as long as no session of the key has ended."""

LONGEST_ESTIMATE_S = 300

LASTED = 20
"""Sessions over which the length of one is estimated."""

FAILURES_PER_MINUTE = 20
"""Wrong keys that one address may try."""

MAX_ADDRESSES = 1_024


@dataclass(frozen=True, slots=True)
class Limits:
    """What a key may do; 0 for no limit.

    Attributes:
        max_sessions: at a time.
        per_minute: session starts and REST calls together.
    """

    max_sessions: int = 0
    per_minute: int = 0


@dataclass(frozen=True, slots=True)
class Full:
    """Not now.

    Attributes:
        retry_after_s: whole seconds, at least 1. Of a rate, it is when the next will be let in if nobody else
            with this key is quicker; of sessions, an estimate.
    """

    code: str
    message: str
    retry_after_s: int


class Window:
    """Events of the last minute. Holds at most the largest limit that it is asked about."""

    __slots__ = ("_at",)

    def __init__(self) -> None:
        self._at: deque[int] = deque()

    def wait_ms(self, limit: int, now_ms: int) -> int:
        """How long until there is room for one more under this limit (at least 1); 0 if there is room."""
        self._forget(now_ms)
        over = len(self._at) - limit
        return 0 if over < 0 else self._at[over] + WINDOW_MS - now_ms

    def add(self, now_ms: int) -> None:
        """Count one; to be called only when there is room."""
        self._at.append(max(now_ms, self._at[-1]) if self._at else now_ms)

    def count(self, now_ms: int) -> int:
        """How many are counted."""
        self._forget(now_ms)
        return len(self._at)

    def empty_in_ms(self, now_ms: int) -> int:
        """How long until none is counted."""
        self._forget(now_ms)
        return self._at[-1] + WINDOW_MS - now_ms if self._at else 0

    def _forget(self, now_ms: int) -> None:
        while self._at and self._at[0] + WINDOW_MS <= now_ms:
            self._at.popleft()


class Account:
    """What one key has done in the last minute, and what it is doing."""

    __slots__ = ("_lasted_ms", "_requests", "sessions")

    def __init__(self) -> None:
        self.sessions = 0
        self._requests = Window()
        self._lasted_ms: deque[int] = deque(maxlen=LASTED)

    def enter(self, limits: Limits, now_ms: int, *, is_session: bool) -> Full | None:
        """Count a request, and a session if it starts one; or say why not, and count nothing."""
        if limits.per_minute and (wait_ms := self._requests.wait_ms(limits.per_minute, now_ms)):
            seconds = whole_seconds(wait_ms)
            message = f"This key may make {limits.per_minute} requests a minute. Try again in {seconds} s."
            return Full("rate_limit_exceeded", message, seconds)
        if is_session and limits.max_sessions and self.sessions >= limits.max_sessions:
            seconds = self._next_place_s()
            message = (
                f"This key has all of its {limits.max_sessions} sessions open. "
                f"One may end in about {seconds} s (an estimate)."
            )
            return Full("session_limit_reached", message, seconds)
        if limits.per_minute:
            self._requests.add(now_ms)
        if is_session:
            self.sessions += 1
        return None

    def leave(self, lasted_ms: int) -> None:
        """A session is over."""
        self.sessions -= 1
        self._lasted_ms.append(lasted_ms)

    def rate_limits(self, limits: Limits, now_ms: int) -> list[dict[str, Any]]:
        """The list in the protocol's `rate_limits.updated`; empty without a limit: then there is nothing to say.

        `reset_seconds` is when the whole limit is there again, if nothing is asked until then.
        """
        if not limits.per_minute:
            return []
        used = self._requests.count(now_ms)
        return [
            {
                "name": "requests",
                "limit": limits.per_minute,
                "remaining": max(0, limits.per_minute - used),
                "reset_seconds": self._requests.empty_in_ms(now_ms) / 1000,
            }
        ]

    def _next_place_s(self) -> int:
        """Of n sessions that last d on average, one ends every d/n."""
        if not self._lasted_ms:
            return FIRST_ESTIMATE_S
        mean_ms = sum(self._lasted_ms) / len(self._lasted_ms)
        return min(LONGEST_ESTIMATE_S, whole_seconds(math.ceil(mean_ms / self.sessions)))


class Failures:
    """Wrong keys by address: beyond `FAILURES_PER_MINUTE`, guesses are refused unread.

    An IPv6 address stands for its /64, which is what one household has. At most `MAX_ADDRESSES` are
    remembered; the one that failed longest ago is forgotten first.
    """

    __slots__ = ("_windows",)

    def __init__(self) -> None:
        self._windows: OrderedDict[str, Window] = OrderedDict()

    def wait_ms(self, peer: str, now_ms: int) -> int:
        """How long until a guess from there is read again; 0 for at once."""
        if not self._windows:
            return 0
        window = self._windows.get(_network(peer))
        return 0 if window is None else window.wait_ms(FAILURES_PER_MINUTE, now_ms)

    def add(self, peer: str, now_ms: int) -> bool:
        """A guess was wrong; true if it was the last for now."""
        network = _network(peer)
        window = self._windows.setdefault(network, Window())
        self._windows.move_to_end(network)
        if len(self._windows) > MAX_ADDRESSES:
            self._windows.popitem(last=False)
        window.add(now_ms)
        return window.wait_ms(FAILURES_PER_MINUTE, now_ms) > 0


def whole_seconds(duration_ms: int) -> int:
    """Rounded up, so that whoever waits this long has waited long enough."""
    return max(1, -(-duration_ms // 1000))


def _network(peer: str) -> str:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer[:64]
    if isinstance(address, ipaddress.IPv4Address):
        return peer
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{ipaddress.IPv6Address(int(address) >> 64 << 64)}/64"
